// The live tail: new records come on top of the list while the button is pressed. What a record says is set as text and never
// as HTML.
"use strict";
(() => {
	const button = document.getElementById("tail"), state = document.getElementById("tail-state"), table = document.getElementById("logs");
	if (!button || !window.EventSource) return;
	button.hidden = false;
	const most = 200, body = table.tBodies[0], wide = table.tHead.rows[0].cells.length > 3;
	const element = (tag, text, set) => Object.assign(document.createElement(tag), { textContent: text }, set);
	const cell = (label, child) => {
		const td = document.createElement("td");
		td.dataset.label = label;
		td.append(child);
		return td;
	};
	const words = code => (code[0].toUpperCase() + code.slice(1)).replaceAll("_", " ").replace("Api key", "API key").replace("Ip ", "IP ");
	let source, count = 0;
	const say = text => { state.hidden = false; state.textContent = text; };
	const stop = text => {
		source?.close();
		source = null;
		button.setAttribute("aria-pressed", "false");
		button.textContent = "Live tail";
		say(text);
	};
	const end = text => {
		stop(text);
		state.append(element("a", "Sign in again", { href: button.dataset.signin }));
	};
	const add = r => {
		const tr = document.createElement("tr"), th = document.createElement("th"), link = document.createElement("a"), path = element("code", `${r.method ?? ""} ${r.path ?? ""}`);
		th.scope = "row";
		th.className = "path";
		link.href = button.dataset.base + encodeURIComponent(r.id) + button.dataset.suffix;
		link.append(path);
		th.append(link);
		const status = document.createElement("td");
		status.append(element("span", r.status, { className: "status s" + String(r.status)[0] }));
		tr.append(status, th);
		if (wide) tr.append(cell("Decision", words(r.decision || "none")), cell("Key", r.token_masked ? element("code", r.token_masked) : element("span", "none", { className: "dim" })), cell("Address", element("code", r.client_address ?? "unknown")));
		const time = element("time", "", { dateTime: r.time });
		time.dataset.seconds = "";
		tr.append(cell("Time", time));
		body.prepend(tr);
		localTimes(tr);
		table.hidden = false;
		document.getElementById("none")?.remove();
		while (body.rows.length > most) body.lastElementChild.remove();
		say(`Live: ${++count} new since you began.`);
	};
	button.addEventListener("click", () => {
		if (source) return stop("Stopped. Reload the page for the whole list.");
		source = new EventSource(button.dataset.tail);
		button.setAttribute("aria-pressed", "true");
		button.textContent = "Stop";
		say("Live: waiting for requests.");
		source.addEventListener("request_log", e => add(JSON.parse(e.data)));
		source.addEventListener("gap", () => say("Some requests were too fast to show. The list has them all."));
		source.addEventListener("error", e => {
			// What the server says before it ends the stream comes as an event with data; what the browser says has none.
			const code = e.data && JSON.parse(e.data).error?.code;
			if (code === "authentication_required") end("Your session has ended, and the live tail with it. ");
			else if (source?.readyState === EventSource.CLOSED) end("The live tail has ended. If your session has, too: ");
			else say("Connecting again…");
		});
	});
	addEventListener("pagehide", () => source?.close());
})();
