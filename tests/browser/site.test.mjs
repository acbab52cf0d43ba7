// What an editor does in a browser with a real server behind it, with scripts and without; every page looked at by axe,
// wide, narrow and dark; hostile names and contents.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { login, openPage, screenshot, startBrowser, startServer, syncNow, tooWide, violations } from "./lib/drydock.mjs";

const LOGO = '<svg xmlns="http://www.w3.org/2000/svg" width="120" height="40"><rect width="120" height="40" fill="navy"/></svg>';
const page_of = (title, body) => `<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>${title}</title>\n` +
	`<link rel="stylesheet" href="/style.css"></head>\n<body>\n<h1>${title}</h1>\n${body}\n</body>\n</html>\n`;
const EVIL = "<script>document.title='owned';try{top.location='http://127.0.0.1:1/'}catch(e){};try{parent.document.title='owned'}catch(e){};" +
	"alert('owned');fetch('/api/v1/whoami',{credentials:'include'}).then(r=>r.text()).then(t=>document.body.append(\"STO\"+\"LEN \"+t)).catch(()=>{})</script>";
const FILES = {
	"/index.html": page_of("Harbour Authority", '<p>Welcome. <a href="/tides/">Tides</a></p><img src="/logo.svg" alt="">'),
	"/style.css": "body { font-family: sans-serif; max-width: 40em; margin: 2em auto }\nh1 { color: rgb(0, 128, 0) }\n",
	"/logo.svg": LOGO,
	"/tides/index.html": page_of("Tides", "<p>High water 06:12</p>"),
	"/tides/table.csv": "day,high,low\n1,06:12,12:20\n",
	"/news/2026-10.html": page_of("October", "<p>A new crane.</p>"),
	"/news/2026-11.html": page_of("November", "<p>The ferry is back.</p>"),
	"/news/2026-12.html": page_of("December", "<p>Closed on the 24th.</p>"),
	"/docs/report.pdf": "%PDF-1.4\nnot really\n",
	"/docs/berths.html": page_of("Berths", "<p>There are 12 berths.</p><p>Length 40 m.</p>"),
	"/odd/<img src=x onerror=alert(1)>.html": page_of("Odd", "<p>odd</p>"),
	"/odd/\"quoted\" & 'co'.html": page_of("Quoted", "<p>quoted</p>"),
	"/odd/evil.html": page_of("Evil", EVIL),
};

let server, browser;

before(async () => {
	[server, browser] = await Promise.all([startServer({ files: FILES, accounts: ["alice"], demo: true }), startBrowser()]);
	await server.api("POST", "/api/v1/users", { name: "rita", password: server.password, display: "Rita", enabled: true });
	await server.api("POST", "/api/v1/users", { name: "nina", password: server.password, display: "Nina", enabled: true });
	await server.do({ do: "role", principal: "own:rita", role: "review", path: "/" });
	await server.do({ do: "role", principal: "own:nina", role: "sign", path: "/news" });
});

after(async () => {
	await browser?.close();
	await server?.stop();
});

const file = (at) => server.api("GET", `/api/v1/sites/www/file?path=${encodeURIComponent(at)}`).then((a) => a.file);

async function job(options, tag) {
	const page = await openPage(browser, options);
	const at = (p) => `${server.url}/s/www${p}`;
	await login(page, server);

	// home: what waits for me
	assert.match(await page.getByRole("heading", { name: /Waiting for you/ }).textContent(), /\d/);
	await screenshot(page, `${tag}-home-before`);

	// one file with its preview: the styled page, in a sandbox
	const one = `/${tag}/one.html`;
	await server.write(one, page_of("One", "<p>the first version</p>"));
	await server.write("/style.css", FILES["/style.css"]);
	await page.goto(at(`/file${one}`));
	const frame = page.frameLocator("iframe").first();
	await frame.getByText("the first version").waitFor();
	assert.match(await page.locator("main").textContent(), /Never approved/);
	await screenshot(page, `${tag}-file-new`);
	await page.locator("#note").fill("a good page");
	await page.getByRole("button", { name: "Sign this file" }).click();
	await page.getByText("Staging equals what is approved").waitFor();
	assert.equal((await file(one)).state, "signed");
	await screenshot(page, `${tag}-file-signed`);

	// a change: the difference comes first
	await server.write(one, page_of("One", "<p>the second version</p>"));
	await page.goto(at(`/file${one}`));
	assert.match(await page.locator("main").textContent(), /first/);
	assert.match(await page.locator("main").textContent(), /second/);
	await screenshot(page, `${tag}-file-changed`);

	// staging moves on while one reads: nothing is signed, the new difference is shown, the note is kept
	await page.locator("#note").fill("the second one");
	await server.write(one, page_of("One", "<p>the third version</p>"));
	await page.getByRole("button", { name: "Sign this file" }).click();
	await page.getByText("Nothing was recorded.").waitFor();
	assert.match(await page.locator("main").textContent(), /third/);
	assert.equal(await page.locator("#note").inputValue(), "the second one");
	assert.equal((await file(one)).state, "changed");
	await screenshot(page, `${tag}-file-conflict`);
	await page.getByRole("button", { name: "Sign this file" }).click();
	await page.getByText("Staging equals what is approved").waitFor();

	// a batch from a list: two of three
	for (const n of ["a", "b", "c"]) await server.write(`/${tag}/list/${n}.html`, page_of(n, `<p>${n}</p>`));
	await page.goto(at(`/tree/${tag}/list`));
	await page.getByLabel("a.html", { exact: true }).check();
	await page.getByLabel("b.html", { exact: true }).check();
	await screenshot(page, `${tag}-tree-selected`);
	await page.getByRole("button", { name: "Sign selected…" }).click();
	await page.getByRole("heading", { level: 1, name: "Sign 2 files" }).waitFor();
	await screenshot(page, `${tag}-confirm`);
	// and one of them changes meanwhile
	await server.write(`/${tag}/list/b.html`, page_of("b", "<p>b again</p>"));
	await page.locator("#note").fill("two of three");
	await page.getByRole("button", { name: "Sign 2 files" }).click();
	await page.getByText("Nothing was recorded.").waitFor();
	assert.equal((await file(`/${tag}/list/a.html`)).state, "unsigned");
	await screenshot(page, `${tag}-confirm-conflict`);
	assert.equal(await page.locator("#note").inputValue(), "two of three");
	await page.getByRole("button", { name: "Sign 2 files" }).click();
	await page.waitForURL(/\/tree\//);
	assert.equal((await file(`/${tag}/list/b.html`)).state, "signed");
	assert.equal((await file(`/${tag}/list/c.html`)).state, "unsigned");

	// a batch from a directory: all that is left
	await page.goto(at(`/tree/${tag}`));
	await page.getByRole("button", { name: "Sign all…" }).click();
	await page.getByRole("button", { name: /^Sign 1 file$/ }).click();
	await page.waitForURL(/\/tree\//);
	assert.equal((await file(`/${tag}/list/c.html`)).state, "signed");

	// what is waiting to go, and the sync
	await page.goto(at("/sync"));
	assert.match(await page.locator(".plan").textContent(), new RegExp(`/${tag}/one.html`));
	await screenshot(page, `${tag}-sync-before`);
	const run = await syncNow(page, server, `the ${tag} edition`);
	assert.equal(run.state, "ok");
	await page.goto(at("/sync"));
	await screenshot(page, `${tag}-sync-after`);
	await page.goto(at(`/sync/${run.run}`));
	assert.match(await page.locator("main").textContent(), new RegExp(`the ${tag} edition`));
	await screenshot(page, `${tag}-run`);

	// the page is in production
	const visitor = await openPage(browser);
	await visitor.goto(`${server.demo}/${tag}/one.html`);
	assert.equal(await visitor.locator("p").textContent(), "the third version");
	await visitor.context().close();

	// revoke it: gone with the next sync
	await page.goto(at(`/file${one}`));
	await page.locator("summary", { hasText: "Revoke" }).click();
	await page.getByLabel("Why", { exact: true }).fill("a mistake");
	await page.getByRole("button", { name: "Revoke this file" }).click();
	await page.getByText("Taken back").waitFor();
	assert.equal(existsSync(path.join(server.production, tag, "one.html")), true);
	await syncNow(page, server, "take it back");
	assert.equal(existsSync(path.join(server.production, tag, "one.html")), false);

	// its history: all of it
	await page.goto(at(`/history?path=${one}`));
	const told = await page.locator("main").textContent();
	for (const word of ["a good page", "the second one", "a mistake"]) assert.match(told, new RegExp(word));
	await screenshot(page, `${tag}-history-file`);

	// and out
	await page.locator("details.who summary").click();
	await page.getByRole("button", { name: "Log out" }).click();
	await page.getByRole("heading", { name: /Log in/ }).waitFor();
	await page.goto(at("/"));
	assert.match(page.url(), /\/login/);
	assert.deepEqual(page.errors, []);
	await page.context().close();
}

test("the main job with scripts", () => job({}, "scripted"));
test("the main job without scripts", () => job({ javaScriptEnabled: false }, "plain"));
test("the main job on a phone", () => job({ viewport: { width: 390, height: 844 }, hasTouch: true }, "phone"));

test("wrong password: a sentence, and the name stays", async () => {
	const page = await openPage(browser);
	await page.goto(`${server.url}/s/www/tree/news`);
	assert.match(page.url(), /\/login\?next=/);
	await page.getByLabel("Name").fill("alice");
	await page.getByLabel("Password").fill("not this one");
	await page.getByRole("button", { name: "Log in" }).click();
	await page.getByRole("alert").waitFor();
	assert.equal(await page.getByLabel("Name").inputValue(), "alice");
	await screenshot(page, "login-wrong");
	await page.getByLabel("Password").fill(server.password);
	await page.getByRole("button", { name: "Log in" }).click();
	await page.waitForURL(`${server.url}/s/www/tree/news`); // back to what was wanted
	await page.context().close();
});

test("what somebody may not do is not offered, and what he may not see is not there", async () => {
	const page = await openPage(browser);
	await login(page, server, "nina");
	await page.goto(`${server.url}/s/www/tree/`);
	const shown = await page.locator("main").textContent();
	assert.match(shown, /news/);
	assert.doesNotMatch(shown, /docs|index\.html|odd/);
	await screenshot(page, "nina-tree");
	assert.equal((await page.goto(`${server.url}/s/www/file/index.html`)).status(), 404);
	await screenshot(page, "not-found");
	assert.equal((await page.goto(`${server.url}/s/www/tree/docs`)).status(), 404);
	await page.goto(`${server.url}/s/www/sync`);
	assert.equal(await page.getByRole("button", { name: "Sync now" }).count(), 0);
	await page.goto(`${server.url}/s/www/tree/news`);
	await page.getByRole("button", { name: "Sign all…" }).click();
	await page.getByRole("button", { name: /^Sign \d files$/ }).click();
	await page.waitForURL(/\/tree\/news/);
	assert.equal((await file("/news/2026-11.html")).state, "signed");
	await page.context().close();

	const reviewer = await openPage(browser);
	await login(reviewer, server, "rita");
	await screenshot(reviewer, "rita-home");
	await reviewer.goto(`${server.url}/s/www/file/news/2026-11.html`);
	assert.equal(await reviewer.getByRole("button", { name: "Sign this file" }).count(), 0);
	await reviewer.locator("summary", { hasText: "Review" }).click();
	await reviewer.getByRole("button", { name: "Review this file" }).click();
	await reviewer.waitForLoadState();
	assert.equal((await file("/news/2026-11.html")).review_seq > 0, true);
	await reviewer.goto(`${server.url}/s/www/rules/explain?path=/news/2026-11.html`);
	await screenshot(reviewer, "explain");
	await reviewer.context().close();
});

test("rules: who gains and loses before it is saved", async () => {
	const page = await openPage(browser);
	await login(page, server);
	await page.goto(`${server.url}/s/www/rules`);
	await screenshot(page, "rules");
	assert.match(await page.locator("main").textContent(), /nina/i);
	await page.context().close();
});

test("hostile names and contents run nothing outside the sandboxed preview", async () => {
	const page = await openPage(browser);
	await login(page, server);
	const requests = [];
	page.on("request", (r) => requests.push(r));
	await server.write("/odd/evil.svg", `<svg xmlns="http://www.w3.org/2000/svg" onload="alert('owned')"><script>alert('owned')</script></svg>`);
	await server.api("POST", "/api/v1/sites/www/sign", { paths: ["/odd"], recursive: true, as_staged: true, note: "<script>alert('owned')</script><img src=x onerror=alert('owned')>" });
	await server.write("/odd/evil.html", page_of("Evil", `${EVIL}<p>changed</p><img src=x onerror="alert('owned')">`));
	for (const at of ["/", "/tree/odd", "/tree/?q=%3Cscript%3Ealert(1)%3C/script%3E", "/file/odd/evil.html", "/file/odd/evil.html?view=preview",
		"/file/odd/evil.html?view=text", "/file/odd/evil.html?view=source", "/file/odd/evil.svg?view=preview", "/file/odd/%3Cimg%20src=x%20onerror=alert(1)%3E.html",
		"/history?path=/odd", "/history?user=%3Cscript%3Ealert(1)%3C/script%3E", "/sync", "/rules/explain?path=/%3Cscript%3E"]) {
		await page.goto(`${server.url}/s/www${at}`);
		await page.waitForTimeout(300);
		assert.doesNotMatch(await page.title(), /owned/, at);
		assert.equal(page.url().startsWith(server.url), true, at);
		assert.equal(await page.locator("main script, main img[src=x]").count(), 0, at);
	}
	await page.goto(`${server.url}/s/www/file/odd/evil.html?view=preview`);
	await screenshot(page, "evil-preview");
	// The preview's own scripts run, with nothing in reach: no dialog, no cookie, no request to DryDock that is answered.
	for (const frame of page.frames().slice(1)) assert.doesNotMatch(await frame.locator("body").textContent().catch(() => ""), /STOLEN/);
	assert.deepEqual(page.errors, []);
	await page.context().close();
});

const PAGES = ["/", "/tree/", "/tree/news", "/tree/?state=signed", "/tree/?q=html", "/file/index.html", "/file/docs/berths.html", "/file/docs/berths.html?view=source",
	"/file/docs/berths.html?view=text", "/file/docs/report.pdf", "/file/logo.svg", "/file/tides/table.csv", "/history", "/history?path=/news", "/record/5", "/sync", "/sync/1", "/rules",
	"/rules/explain?user=own:nina&path=/news", "/preapprovals"];

for (const [tag, options] of Object.entries({ wide: {}, narrow: { viewport: { width: 360, height: 740 } }, dark: { colorScheme: "dark" } }))
	test(`every page: axe finds nothing, nothing scrolls sideways: ${tag}`, async () => {
		const page = await openPage(browser, { ...options, bypassCSP: true });
		page.own = server.url;
		await page.goto(`${server.url}/login`);
		assert.deepEqual(await violations(page), [], "login");
		await screenshot(page, `${tag}-login`);
		await login(page, server);
		await server.write("/docs/berths.html", FILES["/docs/berths.html"]);
		await server.api("POST", "/api/v1/sites/www/sign", { paths: ["/docs/berths.html"], as_staged: true }).catch(() => {});
		await server.write("/docs/berths.html", page_of("Berths", "<p>There are 14 berths.</p><p>Length 40 m.</p>"));
		for (const at of [...PAGES.map((p) => `/s/www${p}`), "/account", "/s/www/file/nothing.html"]) {
			const answer = await page.goto(`${server.url}${at}`);
			assert.equal(answer.status(), at.endsWith("nothing.html") ? 404 : 200, at);
			await screenshot(page, `${tag}-page${at.replace(/[^a-z0-9]+/gi, "-")}`);
			assert.ok(await tooWide(page) <= 0, `${at} is ${await tooWide(page)} pixels too wide`);
			assert.deepEqual(await violations(page), [], at);
			assert.ok(Buffer.byteLength(await answer.body()) < 50_000, `${at}: ${Buffer.byteLength(await answer.body())} bytes`);
		}
		assert.deepEqual(page.errors, []);
		await page.context().close();
	});

test("the style sheet is small", async () => {
	const css = readFileSync(new URL("../../static/drydock.css", import.meta.url));
	assert.ok(css.length < 20_000, `${css.length} bytes`);
});
