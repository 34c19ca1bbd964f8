// Takes the invitation's token from behind the # of the link, where only the browser knows it, puts it into the form, and takes
// it out of the address and the history. It is kept in this tab until the form is done, for the case that something was wrong.
"use strict";
(() => {
	const field = document.getElementById("invitation"), key = "keystile-invitation";
	if (location.hash.length > 1) {
		sessionStorage.setItem(key, decodeURIComponent(location.hash.slice(1)));
		history.replaceState(null, "", location.pathname);
	}
	const token = sessionStorage.getItem(key);
	if (!token) return;
	field.value = token;
	field.type = "password";
	field.closest("[data-invitation]").hidden = true;
})();
