// The main job on a real tree of thousands of files, done by a person in a browser: everything signed in one batch, sent,
// changed, revoked in part, signed in part (a directory and a file swap names in one batch, both ways), sent again.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, test } from "node:test";
import { digests, login, openPage, screenshot, startBrowser, startServer, syncNow, tooWide } from "./lib/drydock.mjs";

let server, browser, page, n, approved;

before(async () => {
	[server, browser] = await Promise.all([startServer({ accounts: ["alice"], demo: true }), startBrowser()]);
	n = await server.do({ do: "real_tree" });
	page = await openPage(browser);
	page.setDefaultTimeout(120_000);
	await login(page, server);
});

after(async () => {
	await browser?.close();
	await server?.stop();
});

const at = (p) => `${server.url}/s/www${p}`;
const counts = async () => (await server.api("GET", "/api/v1/sites/www/status?recursive=1&limit=1&fresh=1")).counts;
const inProduction = () => assert.deepEqual(digests(server.production), approved);
const below = (tree, prefix, yes = true) => Object.fromEntries(Object.entries(tree).filter(([p]) => p.startsWith(prefix) === yes));

test("sign everything in one batch, from home", async () => {
	assert.ok(n >= 5000);
	await page.goto(at("/"));
	await screenshot(page, "real-home");
	await page.getByRole("button", { name: "Sign all…" }).click();
	await page.getByRole("heading", { level: 1, name: new RegExp(`^Sign ${n.toLocaleString("en")} files$|^Sign ${n} files$`) }).waitFor();
	await screenshot(page, "real-confirm");
	await page.locator("#note").fill("the first edition");
	await page.getByRole("button", { name: /^Sign [\d,]+ files$/ }).click();
	await page.waitForURL(/\/tree\//);
	assert.equal((await counts()).signed, n);
	approved = digests(server.staging);
	assert.deepEqual(digests(server.production), {});
});

test("sync: production equals staging", async () => {
	const run = await syncNow(page, server, "the first edition");
	assert.equal(run.added, n);
	inProduction();
	execFileSync("diff", ["-rq", "--no-dereference", server.staging, server.production]);
	const visitor = await openPage(browser);
	await visitor.goto(`${server.demo}/index.html`);
	assert.match(await visitor.title(), /C\+\+/);
	await visitor.context().close();
});

test("a directory of thousands is paged and quick", async () => {
	const start = Date.now();
	await page.goto(at("/tree/user"));
	assert.ok(Date.now() - start < 3000);
	await screenshot(page, "real-tree");
	assert.ok(await tooWide(page) <= 0);
	await page.getByRole("link", { name: /Next/ }).first().click();
	await page.waitForURL(/after=|from=/);
	await page.getByLabel(/Search for a file/).fill("a00113");
	await page.keyboard.press("Enter");
	await page.getByRole("link", { name: /a00113/ }).first().waitFor();
});

test("staging moves on: production does not", async () => {
	for (let i = 0; i < 20; i++) await server.write(`/news/${i}.html`, `<h1>News ${i}</h1>`);
	for (const name of ["faq", "index", "bk02", "api"]) await server.write(`/${name}.html`, `<title>${name}</title><p>edition 2</p>`);
	await server.do({ do: "remove", path: "/bk03.html" });
	await server.write("/swap/dir/one.html", "one");
	await server.write("/swap/dir/deep/two.html", "two");
	await server.write("/swap/file", "a file");
	const now = await counts();
	assert.deepEqual([now.changed, now.missing, now.unsigned], [4, 1, 23]);
	await syncNow(page, server, "nothing to send");
	inProduction();
});

test("revoke a directory and a file that is gone", async () => {
	await page.goto(at("/tree/images"));
	await page.getByRole("button", { name: "Revoke all…" }).click();
	await page.locator("#note").fill("not ours");
	await page.getByRole("button", { name: /^Revoke \d+ files$/ }).click();
	await page.waitForURL(/\/tree\//);
	await page.goto(at("/file/bk03.html"));
	await page.locator("summary", { hasText: "Revoke" }).click();
	await page.getByRole("button", { name: "Revoke this file" }).click();
	await page.waitForLoadState();
	inProduction(); // not before the next sync
	approved = below(approved, "/images/", false);
	delete approved["/bk03.html"];
});

test("sign some of the changes; sync; production is exactly what is approved", async () => {
	await page.goto(at("/tree/?state=changed"));
	await page.getByLabel("faq.html", { exact: true }).check();
	await page.getByLabel("index.html", { exact: true }).check();
	await page.getByRole("button", { name: "Sign selected…" }).click();
	await page.getByRole("button", { name: "Sign 2 files" }).click();
	await page.waitForURL(/\/tree\//);
	await page.goto(at("/tree/news"));
	for (let i = 0; i < 20; i += 2) await page.getByLabel(`${i}.html`, { exact: true }).check();
	await page.getByRole("button", { name: "Sign selected…" }).click();
	await page.getByRole("button", { name: "Sign 10 files" }).click();
	await page.waitForURL(/\/tree\//);
	await page.goto(at("/tree/swap"));
	await page.getByRole("button", { name: "Sign all…" }).click();
	await page.getByRole("button", { name: "Sign 3 files" }).click();
	await page.waitForURL(/\/tree\//);
	const staged = digests(server.staging);
	for (const p of ["/faq.html", "/index.html"]) approved[p] = staged[p];
	for (let i = 0; i < 20; i += 2) approved[`/news/${i}.html`] = staged[`/news/${i}.html`];
	Object.assign(approved, below(staged, "/swap/"));
	await syncNow(page, server, "half of it");
	inProduction();
});

test("a directory and a file swap names in one batch, there and back", async () => {
	for (const turn of [1, 2, 3]) {
		await server.do({ do: "rename", from: "/swap/dir", to: "/swap/t" });
		await server.do({ do: "rename", from: "/swap/file", to: "/swap/dir" });
		await server.do({ do: "rename", from: "/swap/t", to: "/swap/file" });
		await page.goto(at("/tree/swap"));
		await page.getByRole("button", { name: "Sign all…" }).click();
		await page.locator("#note").fill(`swapped, turn ${turn}`);
		await page.getByRole("button", { name: "Sign 3 files" }).click();
		await page.waitForURL(/\/tree\//);
		approved = { ...below(approved, "/swap/", false), ...below(digests(server.staging), "/swap/") };
		await syncNow(page, server, `swapped, turn ${turn}`);
		inProduction();
	}
	// both lives of the name are readable
	await page.goto(at("/history?path=/swap/dir&below=0"));
	assert.match(await page.locator("main").textContent(), /swapped, turn 3[^]*swapped, turn 1/);
	await page.getByRole("link", { name: /There was also a directory of this name/ }).click();
	await page.waitForURL(/below=1/);
	assert.match(await page.locator("main").textContent(), /swapped, turn 2/);
	await screenshot(page, "real-history-of-a-swapped-name");
	assert.deepEqual(page.errors, []);
});

test("what was signed in the browser is what md5sum and sha256sum say, and stock git verifies every commit", async () => {
	const git = (...argv) => server.do({ do: "git", argv });
	const ref = (await git("for-each-ref", "--format=%(refname)", "refs/drydock/log")).trim();
	const log = (await git("log", "--format=%G? %H", ref)).trim().split("\n");
	assert.ok(log.length >= 12, log.join("\n"));
	assert.deepEqual(log.filter((line) => !line.startsWith("G ")), []);
	const said = {}; // of each path what the last record of it says
	for (const line of log.reverse())
		for (const text of (await git("show", `${line.slice(2)}:files`)).split("\n").filter(Boolean)) {
			const file = JSON.parse(text);
			said[file.path] = { md5: file.md5, sha256: file.sha256 };
		}
	const paths = Object.keys(approved);
	const sums = (tool) => Object.fromEntries(execFileSync("xargs", ["-0", tool, "--"], { input: paths.map((p) => `.${p}`).join("\0"),
		cwd: server.production, maxBuffer: 1 << 26 }).toString().trim().split("\n").map((line) => [line.split("  .")[1], line.split(" ")[0]]));
	const md5 = sums("md5sum"), sha256 = sums("sha256sum");
	assert.ok(paths.length >= 5000);
	assert.deepEqual(Object.fromEntries(paths.map((p) => [p, said[p]])), Object.fromEntries(paths.map((p) => [p, { md5: md5[p], sha256: sha256[p] }])));
	for (const p of ["/faq.html", "/news/4.html", paths[1000]]) {
		await page.goto(at(`/file${p}`));
		const shown = await page.locator("main").textContent();
		assert.ok(shown.includes(md5[p]) && shown.includes(sha256[p].slice(0, 12)), p);
	}
});
