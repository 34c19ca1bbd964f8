// What scripts add to pages that work without them: times in the reader's zone, buttons that copy, menus that close, fields
// that show only when they count, and the table of permissions filtered and summed up while one works in it.
"use strict";
const each = (selector, fn) => document.querySelectorAll(selector).forEach(fn);
document.documentElement.classList.add("js");

// times in the reader's zone
const localTimes = root => root.querySelectorAll("time[datetime]").forEach(t => {
	const at = new Date(t.dateTime);
	if (isNaN(at)) return;
	t.title = at.toISOString();
	const day = { day: "numeric", month: "short", year: "numeric" };
	t.textContent = "day" in t.dataset ? at.toLocaleDateString(undefined, day)
		: at.toLocaleString(undefined, { ...day, hour: "2-digit", minute: "2-digit", second: "seconds" in t.dataset ? "2-digit" : undefined });
});
localTimes(document);

// copying: the button takes what its field holds, or the text beside it
each("[data-copy]", button => {
	if (!navigator.clipboard) return;
	button.hidden = false;
	const field = button.dataset.copy ? document.getElementById(button.dataset.copy) : button.previousElementSibling;
	const copy = async () => {
		await navigator.clipboard.writeText(field.value ?? field.textContent);
		button.textContent = "Copied";
		setTimeout(() => { button.textContent = "Copy"; }, 2000);
	};
	button.addEventListener("click", copy);
	if (field.matches("[data-token], [data-select]")) field.addEventListener("click", copy);
});
each("[data-select]", field => field.addEventListener("focus", () => field.select()));

// one menu at a time, closed by Escape and by a click elsewhere
const menus = document.querySelectorAll("details.menu");
document.addEventListener("click", e => menus.forEach(m => { if (m.open && !m.contains(e.target)) m.open = false; }));
document.addEventListener("keydown", e => {
	if (e.key !== "Escape") return;
	menus.forEach(m => { if (m.open) { m.open = false; m.querySelector("summary").focus(); } });
});

// on a narrow screen the list of pages is one line: the one that is open is scrolled into it
const here = document.querySelector(".side [aria-current]"), side = here?.closest(".side");
const showHere = () => { side.scrollLeft += here.getBoundingClientRect().left + here.offsetWidth / 2 - innerWidth / 2; };
if (side) {
	showHere();
	addEventListener("resize", showHere);
}

// fields that count only with another one's value
each("[data-when]", part => {
	const [name, value] = part.dataset.when.split("=");
	const form = part.closest("form");
	const show = () => { part.hidden = new FormData(form).get(name) !== value; };
	form.addEventListener("change", show);
	show();
});

// the table of permissions
each("[data-filter]", filter => {
	const table = document.getElementById(filter.dataset.filter), form = filter.form, list = form.querySelector("[data-summary]");
	const rows = [...table.querySelectorAll("tbody:not(.all) tr:not(.group)")];
	filter.addEventListener("input", () => {
		const text = filter.value.trim().toLowerCase();
		rows.forEach(r => { r.hidden = !r.querySelector("code").textContent.toLowerCase().includes(text); });
		table.querySelectorAll("tbody:not(.all)").forEach(b => { b.hidden = ![...b.rows].some(r => !r.hidden && !r.classList.contains("group")); });
	});
	filter.addEventListener("keydown", e => { if (e.key === "Enter") e.preventDefault(); });
	const sum = () => {
		const lines = [];
		for (const [prefix, where] of [["p.", ""], ["c.", " on connected accounts"]])
			for (const [access, verb] of [["write", "Read and write "], ["read", "Read "]]) {
				const names = rows.map(r => r.querySelector(`input[name^="${prefix}"][value=${access}]:checked`)).filter(Boolean).map(i => i.name.slice(2)).sort();
				if (names.length) lines.push(verb + names.join(", ") + where);
			}
		if (!lines.length) lines.push("Nothing yet: every request with it is refused until you give it a permission.");
		list.replaceChildren(...lines.map(text => Object.assign(document.createElement("li"), { textContent: text })));
	};
	table.addEventListener("change", sum);
	table.addEventListener("click", e => {
		const button = e.target.closest("button[name=set]");
		if (!button) return;
		e.preventDefault();
		const [prefix, access] = button.value.split(":");
		const all = button.closest("tbody").classList.contains("all");
		(all ? rows : rows.filter(r => r.parentNode === button.closest("tbody"))).filter(r => !r.hidden).forEach(r => {
			const radio = r.querySelector(`input[name^="${prefix}."][value=${access}]`);
			if (radio) radio.checked = true;
		});
		sum();
	});
});

// a part of a large table: the server sums up what is chosen in all parts
each("[data-paged]", table => {
	const form = table.closest("form"), list = form.querySelector("[data-summary]");
	let turn = 0;
	table.addEventListener("change", async () => {
		const mine = ++turn, body = new URLSearchParams(new FormData(form));
		body.set("again", "summary");
		const answer = await fetch(form.action, { method: "POST", body });
		const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-summary]");
		if (mine === turn && fresh) list.replaceChildren(...fresh.children);
	});
});
