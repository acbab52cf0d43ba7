// Hostile strings wherever people, files and kits can put text, and then every page that links lead to, in Chromium:
// as an admin and as somebody who only sees a part. No script runs, no tag of theirs is there, the policy has nothing to
// report, the HTML is valid, nothing answers 500; the API's JSON and the CSV hold the same strings unharmed.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import path from "node:path";
import { after, before, test } from "node:test";
import { login, openPage, startBrowser, startServer, top } from "./lib/drydock.mjs";

const { HtmlValidate } = createRequire(path.join(top, "tests/"))("html-validate");
// The rules of the standard; not those of somebody's taste.
const validator = new HtmlValidate({ extends: ["html-validate:standard"] });

const RUN = "window.__ran=(window.__ran||0)+1";
const HOSTILE = {
	tag: `<x-evil></x-evil><script>${RUN}</script>`,
	image: `<img src=x onerror=${RUN}>`,
	attribute: `" onmouseover="${RUN}" x="`,
	single: `' autofocus onfocus='${RUN}' x='`,
	closing: `</title></textarea></style></script><x-evil>`,
	comment: `--><x-evil><!--`,
	cdata: `]]><x-evil>`,
	script: `javascript:${RUN}`,
	data: `data:text,<script>${RUN}<x-evil>`,
	string: `';${RUN};//\\';${RUN};//";${RUN};//`,
	css: `}*{background:url(x)}`,
	template: "{{csrf}}{{{user}}}{{#sites}}{{>header}}",
	entity: "&lt;x-evil&gt;&#60;x-evil&#62;&amp",
	percent: "%3Cx-evil%3E%00%2e%2e%2f",
	bidi: "photo\u202egpj.exe\u202c \u2066iso",
	zero: "in\u200bdex\u200d\ufeff.html\u00ad",
	combining: `z${"\u0301\u0323\u0489".repeat(60)}`,
	formula: `=HYPERLINK("http://evil.example","x")`,
	plus: "+1+1", minus: "-1+1", at: "@SUM(1)", pipe: "|cmd", 
	astral: "\u{1F4A9}\u{E0041}\uFFFD\uFFFE",
	wide: "\uff1d1+1",
	question: "a?b=c&d=e;f#g", quotes: `"quoted" & 'single' \`back\``,
};
const LINES = { newline: `first\n<x-evil>second\r\n=1+1\n\tthird`, long: "very long ".repeat(700), unbroken: "W".repeat(7000) };
const name = (s) => s.replaceAll("/", "∕");
const NAMES = Object.entries(HOSTILE).map(([k, s]) => `${k} ${name(s)}`.slice(0, 120));

let server, browser;
const refused = [];
const api = async (method, at, body) => {
	try { return await server.api(method, at, body); } catch (e) { assert.match(e.message, /'?, 4\d\d, /, e.message); refused.push(`${at}: ${e.message.slice(0, 300)}`); return null; }
};

before(async () => {
	const files = {};
	for (const n of NAMES) files[`/names/${n}.html`] = `<!doctype html><title>${n}</title><p>${n}</p>`;
	for (const n of NAMES.slice(0, 12)) files[`/dirs/${n}/inside.txt`] = "inside\n";
	for (const [k, s] of Object.entries({ ...HOSTILE, ...LINES })) for (const ext of ["txt", "html", "svg", "csv"]) files[`/contents/${k}.${ext}`] = `line one\n${s}\nline three\n`;
	files["/index.html"] = "<h1>index</h1>";
	const shout = Object.values({ ...HOSTILE, ...LINES }).map((s) => `printf '%s\\n' '${s.replaceAll("'", `'\\''`)}'`).join("\n");
	[server, browser] = await Promise.all([startServer({ files, accounts: ["alice"],
		kit: `#!/bin/sh\n${shout}\nprintf '{"error":"<x-evil>%s"}\\n' 'it failed'\nexit 1\n` }), startBrowser()]);
	await api("POST", "/api/v1/users", { name: "vera", password: server.password, display: HOSTILE.tag, enabled: true });
	await server.do({ do: "role", principal: "own:vera", role: "view", path: "/names" });
	let i = 0;
	for (const [n, s] of Object.values(HOSTILE).entries())
		await api("POST", "/api/v1/sites/www/fields", { path: "/contents", name: `f${n}`, label: s, acts: ["sign", "review"], note: s });
	await api("POST", "/api/v1/sites/www/fields", { path: "/contents", name: "choice", label: "Choice", type: "choice", place: 1,
		choices: Object.values(HOSTILE).filter((s) => s.length < 100 && !/[\u200b-\u202e\u2066-\u2069\ufeff\u00ad]/.test(s)) });
	await api("POST", "/api/v1/sites/www/fields", { path: "/names", name: "f", label: HOSTILE.tag, note: HOSTILE.tag });
	for (const [k, s] of Object.entries(HOSTILE)) {
		await api("POST", "/api/v1/users", { name: `u${i++}`, display: s, enabled: true });
		await api("POST", "/api/v1/users", { name: s, display: "x", enabled: true });
		await api("POST", "/api/v1/groups", { name: s, note: s });
		await api("POST", "/api/v1/groups", { name: `g${i}`, title: s, note: s });
		await api("POST", "/api/v1/sites/www/roles", { principal: `own:u${i - 1}`, path: `/names/${k} ${name(s)}`.slice(0, 120), role: "sign", note: s });
		await api("POST", "/api/v1/sites/www/preapprovals", { path: `/contents/${k}.csv`, note: s });
		await api("POST", "/api/v1/sites/www/sign", { paths: [`/contents/${k}.txt`, `/contents/${k}.html`], as_staged: true, note: s, fields: { f0: s, f13: s, choice: s === HOSTILE.tag ? s : "" } });
	}
	for (const [k, s] of Object.entries(LINES)) await api("POST", "/api/v1/sites/www/sign", { paths: [`/contents/${k}.txt`, `/contents/${k}.html`], as_staged: true, note: s });
	await server.api("POST", "/api/v1/sites/www/sign", { paths: ["/names"], recursive: true, as_staged: true, note: HOSTILE.tag });
	await api("POST", "/api/v1/sites/www/review", { paths: ["/contents/tag.txt"], as_staged: true, note: HOSTILE.image });
	await api("POST", "/api/v1/sites/www/revoke", { paths: ["/contents/entity.txt"], as_staged: true, note: HOSTILE.closing });
	// a difference of each
	for (const [k, s] of Object.entries(HOSTILE)) await server.write(`/contents/${k}.html`, `line one\nchanged ${s}${s}\nline three\n`);
	for (const [k, s] of Object.entries(HOSTILE)) await api("POST", "/api/v1/sites/www/holds", { path: `/dirs/${k} ${name(s)}`.slice(0, 120), until: "2h", reason: s });
	await api("POST", "/api/v1/sites/www/sync/force", { reason: HOSTILE.tag });
	for (let n = 0; n < 600; n++) {
		const now = await server.api("GET", "/api/v1/sites/www/sync");
		if (now.run > 0 && !now.running) break;
		await new Promise((done) => setTimeout(done, 50));
	}
});

after(async () => {
	await browser?.close();
	await server?.stop();
});

// One page of each kind and shape: what differs in names, numbers and files only is looked at a few times.
function shape(url) {
	const u = new URL(url);
	const parts = u.pathname.split("/").map((p, i) => (/^\d+$/.test(p) ? "N" : i > 3 ? "*" : p));
	return `${parts.slice(0, 6).join("/")}?${[...u.searchParams.keys()].filter((k) => k !== "path").sort().join("&")}`;
}

async function crawl(who, each, limit) {
	const page = await openPage(browser);
	page.on("console", (m) => { if (m.type() === "error" && m.location().url.startsWith(server.url) && !/status of (400|403|404)/.test(m.text())) page.errors.push(`${m.location().url}: ${m.text()}`); });
	await page.addInitScript(() => document.addEventListener("securitypolicyviolation", (e) => { (window.__violations ??= []).push(`${e.violatedDirective} ${e.blockedURI} ${e.sourceFile}`); }));
	await login(page, server, who);
	// Pages of one kind are looked at a few times each, but the files with hostile names are all looked at.
	const all = new Set(who === "alice" ? NAMES.map((n) => `${server.url}/s/www/file/names/${encodeURIComponent(n)}.html`) : []);
	const seen = new Map(), todo = [...all, `${server.url}/`, `${server.url}/account`, `${server.url}/s/www/tree/names`, `${server.url}/s/www/tree/dirs`, `${server.url}/s/www/rules`, `${server.url}/s/www/history`,
		...Object.values(HOSTILE).map((s) => `${server.url}/s/www/tree/?q=${encodeURIComponent(s)}`), ...Object.values(HOSTILE).map((s) => `${server.url}/s/www/history?user=${encodeURIComponent(s)}`),
		`${server.url}/s/www/rules/explain?user=${encodeURIComponent(HOSTILE.tag)}&path=/names`, `${server.url}/login?next=${encodeURIComponent("javascript:alert(1)")}`,
		...Object.keys(HOSTILE).map((k) => `${server.url}/s/www/file/contents/${k}.html`),
		...Object.keys(LINES).map((k) => `${server.url}/s/www/file/contents/${k}.html?view=source`)];
	const queued = new Set(todo);
	let pages = 0;
	const texts = [];
	while (todo.length && pages < limit) {
		const url = todo.shift();
		const kind = shape(url);
		if ((seen.get(kind) ?? 0) >= each && !all.has(url)) continue;
		seen.set(kind, (seen.get(kind) ?? 0) + 1);
		const answer = await page.goto(url, { waitUntil: "domcontentloaded" }).catch((e) => (/Download is starting|ERR_ABORTED/.test(e.message) ? null : Promise.reject(e)));
		if (!answer) continue;
		pages++;
		assert.ok(answer.status() < 500, `${url}: ${answer.status()}`);
		if (!/html/.test(answer.headers()["content-type"] ?? "")) continue;
		const found = await page.evaluate(() => ({
			ran: window.__ran, violations: window.__violations, evil: document.querySelectorAll("x-evil").length, title: document.title,
			handlers: [...document.querySelectorAll("*")].flatMap((e) => [...e.attributes].filter((a) => /^on|^style$|^srcdoc$/.test(a.name)).map((a) => `${e.tagName} ${a.name}`)),
			scripts: [...document.scripts].filter((s) => new URL(s.src, location).pathname !== "/static/drydock.js").length,
			links: [...document.querySelectorAll("[href], [src], [action], [data-events]")].map((e) => e.getAttribute("href") ?? e.getAttribute("src") ?? e.getAttribute("action") ?? e.dataset.events),
			follow: [...document.querySelectorAll("a[href]")].map((a) => a.href), text: document.body.innerText, heading: document.querySelectorAll("h1").length,
			wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
			widest: [...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > document.documentElement.clientWidth).slice(0, 6).map((e) => e.outerHTML.slice(0, 200)),
		}));
		assert.deepEqual({ url, ran: found.ran, violations: found.violations, evil: found.evil, handlers: found.handlers, scripts: found.scripts },
			{ url, ran: undefined, violations: undefined, evil: 0, handlers: [], scripts: 0 });
		for (const l of found.links) assert.match(l, /^(\/(?![/\\])|#|\?|[\w.~%-][\w.~%/-]*(\?|#|$)|http:\/\/[0-9a-f]{32}\.localhost:\d+\/|$)/, `${url}: ${l}`);
		assert.equal(found.heading, 1, url);
		assert.ok(found.wide <= 0, `${url} is ${found.wide} pixels too wide: ${found.widest.join("\n")}`);
		// One that has loaded itself again meanwhile is asked for once more.
		const html = await answer.text().catch(() => page.request.get(url).then((again) => again.text()));
		const report = await validator.validateString(html);
		assert.deepEqual(report.results.flatMap((r) => r.messages.map((m) => `${url}: ${m.line}:${m.column} ${m.ruleId} ${m.message}`)), []);
		texts.push(found.text);
		for (const to of found.follow) {
			const bare = to.split("#")[0];
			if (bare.startsWith(server.url) && !queued.has(bare)) {
				queued.add(bare);
				todo.push(bare);
			}
		}
	}
	assert.deepEqual(page.errors, []);
	await page.context().close();
	return { pages, kinds: seen.size, text: texts.join("\n") };
}

test("what is refused is refused with a reason", () => {
	for (const r of refused) assert.doesNotMatch(r, /failed|went wrong/);
});

test("every page as an admin", async (t) => {
	const { pages, kinds, text } = await crawl("alice", process.env.DRYDOCK_THOROUGH ? 5 : 2, 1000);
	t.diagnostic(`${pages} pages of ${kinds} kinds`);
	assert.ok(pages > 60 && kinds > 25, `${pages} pages of ${kinds} kinds`);
	// they are there, as they were written
	for (const s of ["tag", "image", "attribute", "template", "entity", "percent", "formula"]) assert.ok(text.includes(HOSTILE[s].slice(0, 30)), s);
});

test("every page as somebody who sees a part", async (t) => {
	const { pages, kinds, text } = await crawl("vera", process.env.DRYDOCK_THOROUGH ? 5 : 1, 1000);
	t.diagnostic(`${pages} pages of ${kinds} kinds`);
	assert.ok(pages > 15 && kinds > 12, `${pages} pages of ${kinds} kinds`);
	assert.ok(!text.includes("/contents/") && !text.includes("/dirs"), "what is hidden shows nowhere");
});

test("the API and the CSV say the same", async () => {
	const status = await server.api("GET", "/api/v1/sites/www/status?path=/names&limit=1000");
	const listed = JSON.stringify(status);
	for (const n of NAMES) assert.ok(listed.includes(JSON.stringify(`/names/${n}.html`).slice(1, -1)), n);
	const log = await server.api("GET", "/api/v1/sites/www/log?limit=500");
	const notes = new Set(log.items.map((r) => r.note));
	let kept = 0;
	for (const s of Object.values(HOSTILE)) kept += notes.has(s);
	assert.ok(kept + refused.filter((r) => /\/sign:/.test(r)).length >= Object.keys(HOSTILE).length, `${kept}`);
	const page = await openPage(browser);
	await login(page, server);
	const csv = await page.evaluate(() => fetch("/s/www/history?format=csv").then((r) => r.text()));
	const cells = [...csv.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,"\r\n]*))(?=,|\r?\n|$)/gm)].map((m) => m[1]?.replaceAll('""', '"') ?? m[2]);
	assert.ok(cells.length > 200);
	for (const c of cells) assert.doesNotMatch(c, /^[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/, "a cell that a spreadsheet would run");
	await page.context().close();
});
