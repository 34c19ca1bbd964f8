// Package otlp sends request records on to an OpenTelemetry collector, as OTLP logs.
//
// An [Exporter] observes a request log. It has a queue and a goroutine of its own, so that a collector which is slow, or not
// there, slows nothing: what finds no room is dropped, what the collector does not take in time is given up, and both are
// counted. Records are stored in the request log before they come here, so that nothing is lost but a copy.
//
// What a record says goes by the names of OpenTelemetry's semantic conventions where they have one (http.request.method,
// http.response.status_code, url.path, client.address, …), everything else by its column's name under "keystile.".
package otlp
