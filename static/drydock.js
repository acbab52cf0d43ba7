/*
 * Comfort only: every page is complete without this file. Live times and clocks, selecting in lists, keys, copying
 * fingerprints, live output of a sync. No page has inline script; everything hangs on attributes that templates write:
 *   <time datetime>            kept current; data-countdown: counts down
 *   data-keys                  a list whose rows j and k walk
 *   data-all, data-selected    the box that ticks all, the sentence that counts them
 *   data-copy                  copied by a click
 *   data-key="s"               the button that the key s goes to; data-press: and presses
 *   data-events                address of server-sent events: "output" {target, from, text}, "progress" {step or target, count, done, total};
 *                              "changed" and "end" load the page again
 */
(function () {
	"use strict";
	var all = function (what, under) { return Array.prototype.slice.call((under || document).querySelectorAll(what)); };
	document.documentElement.classList.add("js");

	/* One region that reads out what just happened. */
	var says = document.createElement("p");
	says.className = "vh";
	says.setAttribute("role", "status");
	document.body.appendChild(says);
	function say(text) {
		says.textContent = "";
		setTimeout(function () { says.textContent = text; }, 50);
	}

	/* Times. The same words as the server's clock_relative. */
	var UNITS = [[365 * 86400, "year"], [30 * 86400, "month"], [86400, "day"], [3600, "hour"], [60, "minute"]];
	function relative(ms) {
		var s = Math.floor(Math.abs(ms) / 1000);
		for (var i = 0; i < UNITS.length; i++) {
			var n = Math.floor(s / UNITS[i][0]), words = n + " " + UNITS[i][1] + (n === 1 ? "" : "s");
			if (n) return ms > 0 ? "in " + words : words + " ago";
		}
		return "just now";
	}
	function countdown(ms) {
		var s = Math.ceil(ms / 1000), two = function (n) { return (n < 10 ? "0" : "") + n; };
		if (s <= 0) return "due now";
		if (s >= 3600) return Math.floor(s / 3600) + ":" + two(Math.floor(s / 60) % 60) + ":" + two(s % 60);
		return Math.floor(s / 60) + ":" + two(s % 60);
	}
	function ticks(counting) {
		all(counting ? "time[data-countdown]" : "time[datetime]:not([data-countdown])").forEach(function (t) {
			var at = Date.parse(t.getAttribute("datetime"));
			if (isNaN(at)) return;
			var left = at - Date.now(), text = counting ? countdown(left) : relative(left);
			if (t.textContent !== text) t.textContent = text;
			if (!t.dataset.utc) {
				t.dataset.utc = t.title || t.getAttribute("datetime");
				t.title = new Date(at).toLocaleString(undefined, { dateStyle: "full", timeStyle: "long" }) + "\n" + t.dataset.utc;
			}
		});
	}
	ticks(true);
	ticks(false);
	setInterval(function () { ticks(true); }, 1000);
	setInterval(function () { ticks(false); }, 20000);

	/* Selecting: all, a range with shift, and the sentence that says how many. */
	all("form.listing").forEach(function (form) {
		var boxes = all("input[name=\"path[]\"]", form), whole = form.querySelector("[data-all]"), last = null;
		function count() {
			var n = boxes.filter(function (b) { return b.checked; }).length, out = form.querySelector("[data-selected]");
			if (out) out.textContent = n === 0 ? "Nothing selected" : n === 1 ? "1 selected" : n + " selected";
			if (whole) {
				whole.checked = n > 0 && n === boxes.length;
				whole.indeterminate = n > 0 && n < boxes.length;
			}
		}
		boxes.forEach(function (box, i) {
			box.addEventListener("click", function (e) {
				if (e.shiftKey && last !== null)
					for (var k = Math.min(i, last); k <= Math.max(i, last); k++) boxes[k].checked = box.checked;
				last = i;
				count();
			});
			box.addEventListener("change", count);
		});
		if (whole) whole.addEventListener("change", function () {
			boxes.forEach(function (b) { b.checked = whole.checked; });
			count();
		});
		window.addEventListener("pageshow", count);
		count();
	});

	/* Copying. */
	all("[data-copy], code.print[title]").forEach(function (e) {
		if (!navigator.clipboard) return;
		e.tabIndex = 0;
		e.setAttribute("role", "button");
		function copy() {
			navigator.clipboard.writeText(e.dataset.copy || e.title).then(function () {
				say("Copied");
				var was = e.textContent;
				if (e.dataset.busy) return;
				e.dataset.busy = "1";
				e.textContent = "copied";
				setTimeout(function () { e.textContent = was; delete e.dataset.busy; }, 900);
			}, function () { say("The browser does not allow copying"); });
		}
		e.addEventListener("click", copy);
		e.addEventListener("keydown", function (k) { if (k.key === "Enter" || k.key === " ") { k.preventDefault(); copy(); } });
	});

	/* Keys. */
	var KEYS = [["j", "next in the list"], ["k", "the one before"], ["Enter, o", "open it"], ["x", "select it"],
		["s", "go to the Sign button"], ["/", "find a file"], ["?", "show these keys"]];
	var rows = all("[data-keys] tbody tr, ul[data-keys] > li"), at = -1;
	function go(to) {
		if (!rows.length) return;
		if (at >= 0) rows[at].classList.remove("here");
		at = Math.max(0, Math.min(rows.length - 1, to));
		rows[at].classList.add("here");
		rows[at].scrollIntoView({ block: "nearest" });
		var link = rows[at].querySelector("a[href]");
		if (link) link.focus({ preventScroll: true });
	}
	function help() {
		var d = document.querySelector("dialog.keys");
		if (!d) {
			d = document.createElement("dialog");
			d.className = "keys";
			var h = document.createElement("h2"), list = document.createElement("dl"), form = document.createElement("form"),
				close = document.createElement("button");
			h.textContent = "Keys";
			list.className = "facts";
			KEYS.forEach(function (k) {
				var dt = document.createElement("dt"), dd = document.createElement("dd"), kbd = document.createElement("kbd");
				kbd.textContent = k[0];
				dt.appendChild(kbd);
				dd.textContent = k[1];
				list.appendChild(dt);
				list.appendChild(dd);
			});
			form.method = "dialog";
			close.textContent = "Close";
			form.appendChild(close);
			[h, list, form].forEach(function (e) { d.appendChild(e); });
			document.body.appendChild(d);
		}
		if (d.showModal && !d.open) d.showModal();
	}
	document.addEventListener("keydown", function (e) {
		var in_field = /^(INPUT|TEXTAREA|SELECT)$/.test(e.target.tagName) && e.target.type !== "checkbox";
		if (e.ctrlKey || e.metaKey || e.altKey || in_field || document.querySelector("dialog[open]")) return;
		var target = null;
		switch (e.key) {
		case "j": go(at + 1); break;
		case "k": go(at - 1); break;
		case "o": if (at >= 0 && (target = rows[at].querySelector("a[href]"))) target.click(); break;
		case "x": if (at >= 0 && (target = rows[at].querySelector("input[name=\"path[]\"]"))) target.click(); break;
		case "s":
			if (!(target = document.querySelector("[data-key=s]"))) return;
			if (target.hasAttribute("data-press")) target.click();
			else { target.focus(); target.scrollIntoView({ block: "center" }); }
			break;
		case "/": if (!(target = document.getElementById("q"))) return; target.focus(); target.select(); break;
		case "?": help(); break;
		default: return;
		}
		e.preventDefault();
	});

	/* One open menu at a time; Escape and a click elsewhere close it. */
	function close_menus(but) { all("details.menu[open]").forEach(function (m) { if (m !== but) m.open = false; }); }
	document.addEventListener("click", function (e) { close_menus(e.target.closest && e.target.closest("details.menu")); });
	document.addEventListener("keydown", function (e) { if (e.key === "Escape") close_menus(null); });

	/*
	 * Live output and state of a sync. A page on which somebody is typing is not taken away from him; nor does it load
	 * itself again while a form that was sent, or a link, is on its way: that would be lost.
	 */
	var leaving = -Infinity;
	window.addEventListener("beforeunload", function () { leaving = Date.now(); });
	all("[data-events]").forEach(function (box) {
		if (!window.EventSource) return;
		var source = new EventSource(box.dataset.events);
		function again() {
			var f = document.activeElement;
			if (Date.now() - leaving < 5000) return setTimeout(again, 1000);
			if (f && /^(INPUT|TEXTAREA|SELECT)$/.test(f.tagName) && f.value) say("This page has changed. Load it again to see.");
			else location.reload();
		}
		source.addEventListener("output", function (e) {
			var data = JSON.parse(e.data);
			all("[data-target]", box).forEach(function (log) {
				if (log.dataset.target !== data.target) return;
				var end = log.scrollHeight - log.scrollTop - log.clientHeight < 30;
				if (data.from === 0) log.textContent = "";
				log.appendChild(document.createTextNode(data.text));
				if (end) log.scrollTop = log.scrollHeight;
			});
		});
		source.addEventListener("progress", function (e) {
			var data = JSON.parse(e.data), at = box, bar, step = box.querySelector("[data-step]");
			/* Of a target's kit, which the page may not show; or of the act that the page is about. */
			if (data.target) at = all("[data-far]").filter(function (x) { return x.dataset.far === data.target; })[0];
			if (!at) return;
			at.hidden = false;
			bar = at.querySelector("progress");
			if (step && step.textContent !== data.step) step.textContent = data.step;
			at.querySelector("[data-count]").textContent = data.count;
			if (data.done < 0) return bar.removeAttribute("value");
			bar.max = data.total;
			bar.value = data.done;
		});
		source.addEventListener("changed", again);
		source.addEventListener("end", function () { source.close(); again(); });
	});
})();
