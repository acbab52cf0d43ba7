// Acts that take long, and the previews of a selection, as a person meets them: with and without scripts. A table is held
// by somebody else meanwhile, so that an act is long however fast the machine is. (axe looks at these pages in pages.test.mjs.)
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { login, openPage, screenshot, startBrowser, startServer, tooWide } from "./lib/drydock.mjs";

const files = { "/style.css": "h1 { color: rgb(0, 0, 200) }", "/news/index.html": "old" };
for (const at of ["with", "without"]) for (let i = 0; i < 40; i++) files[`/${at}/page-${i}.html`] = `<h1>${at} ${i}</h1>`;
let server, browser;

before(async () => {
	[server, browser] = await Promise.all([startServer({ accounts: ["alice"], files }), startBrowser()]);
	await server.api("POST", "/api/v1/sites/www/sign", { paths: ["/style.css"], as_staged: true });
});

after(async () => {
	await browser?.close();
	await server?.stop();
});

const at = (p) => `${server.url}/s/www${p}`;
const acts = async (of) => (await server.api("GET", `/api/v1/sites/www/log?act=sign&path=${of}&below=1`)).items.length;

async function signAll(page, of) {
	await page.goto(at(`/tree${of}`));
	await page.getByRole("button", { name: "Sign all…" }).click();
	await page.getByRole("heading", { name: "Sign 40 files" }).waitFor();
	await page.getByLabel(/^Note/).fill("all of them");
	await page.getByRole("button", { name: "Sign 40 files" }).click();
	await page.waitForURL(/\/acts\//);
}

test("with scripts: live, left, found on Home, and its end comes by itself", async () => {
	const page = await openPage(browser, {});
	await login(page, server);
	await server.do({ do: "hold" });
	await signAll(page, "/with");
	await page.getByRole("heading", { name: "Signing 40 files in /with" }).waitFor();
	// the step came by the event stream: the page was made before it
	await page.locator("[data-step]", { hasText: "recording" }).waitFor();
	await screenshot(page, "act-light");
	const address = page.url();
	// left
	await page.goto(at("/"));
	await page.getByRole("heading", { name: "Running now" }).waitFor();
	await screenshot(page, "act-home");
	// found again, narrow and dark
	const other = await openPage(browser, { colorScheme: "dark", viewport: { width: 400, height: 800 } });
	await login(other, server);
	await other.getByRole("link", { name: "Signing 40 files in /with" }).click();
	await other.getByRole("heading", { name: "Signing 40 files in /with" }).waitFor();
	assert.equal(other.url(), address);
	assert.ok(await tooWide(other) <= 0);
	await screenshot(other, "act-dark-400");
	await server.do({ do: "release" });
	await other.getByText(/You signed 40 files/).waitFor();
	assert.deepEqual(other.errors, []);
	await page.goto(address);
	await page.getByText(/You signed 40 files/).waitFor();
	assert.equal(await acts("/with"), 1);
	assert.deepEqual(page.errors, []);
	await page.context().close();
	await other.context().close();
});

test("without scripts: the page loads itself again until it is done", async () => {
	const page = await openPage(browser, { javaScriptEnabled: false });
	await login(page, server);
	await server.do({ do: "hold" });
	await signAll(page, "/without");
	await page.getByText("recording").waitFor();
	await screenshot(page, "act-no-script");
	await server.do({ do: "release" });
	await page.getByText(/You signed 40 files/).waitFor();
	assert.equal(await acts("/without"), 1);
	// the form once more, by going back: not a second record
	await page.context().close();
});

test("previews of a selection show what is in it as staged, and the rest as production has it", async () => {
	const staged = "<link rel=stylesheet href=/style.css><h1>News</h1><img src=/picture.svg alt=picture>";
	await server.write("/news/index.html", staged);
	await server.write("/style.css", "h1 { color: rgb(200, 0, 0) }");
	const page = await openPage(browser);
	await login(page, server);
	const colour = async (tick) => {
		await page.goto(at("/tree/?q=.")); // every file, by its path
		for (const name of tick) await page.getByLabel(name, { exact: true }).check();
		await page.getByRole("button", { name: "Sign selected…" }).click();
		await page.getByRole("heading", { name: /^Sign \d file/ }).waitFor();
		const row = page.locator("tr", { hasText: "/news/index.html" });
		const [preview] = await Promise.all([page.context().waitForEvent("page"), row.getByRole("link", { name: "Preview" }).click()]);
		await preview.getByRole("heading", { name: "News" }).waitFor();
		assert.match(new URL(preview.url()).host, /^[0-9a-f]{32}\.localhost:/);
		const found = await preview.locator("h1").evaluate((h) => getComputedStyle(h).color);
		const cookies = await preview.evaluate(() => { try { return document.cookie; } catch (e) { return e.name; } });
		assert.equal(cookies, "SecurityError"); // sandboxed
		await preview.close();
		return found;
	};
	assert.equal(await colour(["/news/index.html"]), "rgb(0, 0, 200)"); // as production has the style
	assert.equal(await colour(["/news/index.html", "/style.css"]), "rgb(200, 0, 0)"); // as it will be
	await screenshot(page, "confirm");
	await page.setViewportSize({ width: 400, height: 800 });
	assert.ok(await tooWide(page) <= 0);
	await page.context().close();
	// what moves on afterwards is not shown under the old name
	const other = await openPage(browser);
	await login(other, server);
	await other.goto(at("/tree/?q=."));
	await other.getByLabel("/news/index.html", { exact: true }).check();
	await other.getByRole("button", { name: "Sign selected…" }).click();
	const link = await other.getByRole("link", { name: "Preview" }).getAttribute("href");
	await server.write("/news/index.html", "something else");
	await other.goto(link);
	assert.match(await other.textContent("body"), /changed since it was shown/);
	await other.context().close();
});
