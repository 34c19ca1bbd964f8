-- The load: one request after the other from the file, each thread beginning elsewhere.
local started = 0

function setup(thread)
	thread:set("number", started)
	started = started + 1
end

function init(args)
	requests = {}
	for line in io.lines(os.getenv("BENCH_REQUESTS")) do
		local path, token = line:match("^(%S+) (%S+)$")
		requests[#requests + 1] = wrk.format("GET", path, {
			["Host"] = "127.0.0.1:19200", ["Accept"] = "*/*", ["Accept-Encoding"] = "gzip",
			["Authorization"] = "Bearer " .. token, ["User-Agent"] = "Stripe/v1 GoBindings/85.0.0",
		})
	end
	at = math.floor(#requests / 2) * number
end

function request()
	at = at % #requests + 1
	return requests[at]
end

function done(summary, latency, requests)
	local e = summary.errors
	io.write(string.format("\nRESULT %d %d %d %d %d %d\n", summary.requests, summary.duration,
		latency:percentile(50), latency:percentile(99), e.status, e.connect + e.read + e.write + e.timeout))
end
