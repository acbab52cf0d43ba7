// An admin forces a sync and watches it go live, without loading a page again: the run under way, its output, and the page
// that visitors get.
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { after, before, test } from "node:test";
import { login, openPage, startBrowser, startServer } from "./lib/drydock.mjs";

const KIT = `#!/bin/sh
[ "$1" = test ] && exit 0
echo "on its way"
n=0
while [ ! -e "$DRYDOCK_PLACE/go" ] && [ $n -lt 99 ]; do n=$((n + 1)); echo "{\\"done\\":\${n}00,\\"total\\":10000}"; sleep 0.7; done
rm -f "$DRYDOCK_PLACE/go"
cp -R "$DRYDOCK_EXPORT/." "$DRYDOCK_PLACE/"
`;
let server, browser;

before(async () => {
	server = await startServer({ files: { "/index.html": "<h1>first</h1>" }, demo: true, kit: KIT });
	browser = await startBrowser();
});

after(async () => {
	await browser?.close();
	await server?.stop();
});

test("a forced sync is watched until it is live", async () => {
	const page = await openPage(browser);
	await login(page, server);
	await server.api("POST", "/api/v1/sites/www/sign", { paths: ["/index.html"], as_staged: true });
	await page.goto(`${server.url}/s/www/sync`);
	await page.getByLabel("Why not wait?").fill("a customer waits");
	await page.getByRole("button", { name: "Sync now" }).click();
	// The page tells by itself that it runs.
	const run = page.getByRole("link", { name: /^Run \d+$/ });
	await run.waitFor();
	// How far it is: live, and not as it was when the page was made.
	const far = page.getByText(/^[\d,]+00 of 10,000$/), bar = page.getByRole("progressbar", { name: "production" });
	await far.waitFor();
	assert.match(await bar.getAttribute("value"), /^\d+00$/);
	await run.click();
	await page.getByText("on its way").waitFor();
	await far.waitFor();
	assert.equal(await bar.getAttribute("max"), "10000");
	assert.doesNotMatch(await page.locator("pre.log").textContent(), /done/);
	await writeFile(path.join(server.production, "go"), "");
	await page.getByText(/Release 1 is on 1 of 1 target/).waitFor();
	await page.goto(`${server.url}/s/www/sync`);
	await page.getByText("confirmed", { exact: true }).waitFor();
	assert.match(await page.locator("main").textContent(), /a customer waits|asked for by/);
	const visitor = await openPage(browser);
	await visitor.goto(`${server.demo}/index.html`);
	assert.equal(await visitor.locator("h1").textContent(), "first");
	await page.goto(`${server.url}/s/www/file/index.html`);
	await page.getByText(/Live on production since .* in release 1, confirmed/).waitFor();
	assert.deepEqual(page.errors, []);
});

test("a sync that begins meanwhile does not stop a form that is on its way", async () => {
	const page = await openPage(browser);
	await login(page, server);
	await page.goto(`${server.url}/s/www/sync`);
	let sent = 0;
	await page.route("**/sync/force", async (route) => {
		sent++;
		// The answer takes as long as another's sync needs to begin, and the page to hear of it.
		const before = (await server.api("GET", "/api/v1/sites/www/sync")).run;
		await server.api("POST", "/api/v1/sites/www/sync/force", { reason: "somebody else" });
		while ((await server.api("GET", "/api/v1/sites/www/sync")).run === before) await new Promise((done) => setTimeout(done, 50));
		await new Promise((done) => setTimeout(done, 2000));
		await route.continue();
	});
	await page.getByLabel("Why not wait?").fill("at the same time");
	await page.getByLabel("Why not wait?").evaluate((field) => { field.form.requestSubmit(); field.value = ""; });
	await page.waitForURL(/[?&]done=/);
	assert.equal(sent, 1);
	assert.deepEqual(page.errors, []);
});
