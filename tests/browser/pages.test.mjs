// The sample pages (tests/unit/golden, rendered by view_page_test) in a real browser: accessibility by axe-core in light
// and dark, wide and narrow; nothing scrolls sideways; what drydock.js adds.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

const top = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const build = process.env.DRYDOCK_BUILD ?? path.join(top, "build");
const { chromium } = createRequire(path.join(top, "tests/"))("playwright-core");
const axe = readFileSync(path.join(top, "tests/node_modules/axe-core/axe.min.js"), "utf8");
const TYPES = { ".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml" };

let browser, server, base, dir;

before(async () => {
	dir = mkdtempSync(path.join(tmpdir(), "drydock-pages-"));
	execFileSync(path.join(build, "view_page_test"), { cwd: dir, env: { ...process.env, srcdir: top }, stdio: "pipe" });
	server = createServer((request, answer) => {
		const name = decodeURIComponent(request.url.split("?")[0]);
		const file = name.startsWith("/static/") ? path.join(top, "static", path.basename(name)) : path.join(dir, "pages", path.basename(name));
		let bytes;
		try {
			bytes = readFileSync(file);
		} catch {
			answer.writeHead(404).end();
			return;
		}
		answer.writeHead(200, {
			"Content-Type": TYPES[path.extname(file)] ?? "application/octet-stream",
			// what the server sends: no inline code runs
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
				"connect-src 'self'; frame-src 'self' about:; form-action 'self'; base-uri 'none'",
		}).end(bytes);
	});
	await new Promise((done) => server.listen(0, "127.0.0.1", done));
	base = `http://127.0.0.1:${server.address().port}`;
	browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
		args: process.getuid() === 0 ? ["--no-sandbox"] : [] });
});

after(async () => {
	await browser?.close();
	server?.close();
	if (dir) rmSync(dir, { recursive: true });
});

async function open(name, options = {}) {
	const context = await browser.newContext({ viewport: { width: 1200, height: 900 }, ...options });
	const page = await context.newPage();
	page.errors = [];
	page.on("pageerror", (e) => page.errors.push(e.message));
	page.on("console", (m) => { if (m.type() === "error" && !/404|EventSource/.test(m.text())) page.errors.push(m.text()); });
	await page.goto(`${base}/${name}.html`);
	return page;
}

// All rules once; colours again in the dark; narrow windows for their width.
for (const [colorScheme, width, rules] of [["light", 1200, []], ["dark", 1200, ["color-contrast"]], ["light", 400, null]])
	test(`axe finds nothing, and nothing scrolls sideways: ${colorScheme}, ${width} pixels`, async () => {
		const names = readdirSync(path.join(dir, "pages")).map((f) => f.replace(/\.html$/, ""));
		assert.ok(names.length > 20);
		const page = await open(names[0], { colorScheme, viewport: { width, height: 900 }, bypassCSP: true });
		for (const name of names) {
			await page.goto(`${base}/${name}.html`);
			const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
			assert.ok(over <= 0, `${name} is ${over} pixels too wide`);
			assert.deepEqual(page.errors, [], name);
			if (!rules) continue;
			await page.evaluate(axe);
			const found = await page.evaluate((only) => window.axe.run({ resultTypes: ["violations"],
				...(only.length ? { runOnly: { type: "rule", values: only } } : {}) }), rules);
			assert.deepEqual(found.violations.map((v) => `${name}: ${v.id}: ${v.nodes[0].html}`), []);
		}
		await page.context().close();
	});

test("without scripts everything is there", async () => {
	for (const name of ["tree", "file", "sync", "confirm"]) {
		const page = await open(name, { javaScriptEnabled: false });
		for (const button of await page.locator("main form button").all())
			if (!(await button.evaluate((b) => b.closest("details:not([open])") !== null))) assert.ok(await button.isVisible(), name);
		await page.context().close();
	}
});

test("selecting: all, a range with shift, and how many", async () => {
	const page = await open("tree");
	const boxes = page.locator('input[name="path[]"]'), says = page.locator("[data-selected]");
	const n = await boxes.count();
	assert.equal(await says.textContent(), "Nothing selected");
	await boxes.nth(1).click();
	assert.equal(await says.textContent(), "1 selected");
	await boxes.nth(4).click({ modifiers: ["Shift"] });
	assert.equal(await says.textContent(), "4 selected");
	await page.locator("[data-all]").click();
	assert.equal(await says.textContent(), `${n} selected`);
	await page.locator("[data-all]").click();
	assert.equal(await says.textContent(), "Nothing selected");
	assert.deepEqual(page.errors, []);
	await page.context().close();
});

test("keys: j and k walk, x selects, / finds, ? shows them, typing is typing", async () => {
	const page = await open("tree");
	await page.keyboard.press("j");
	await page.keyboard.press("j");
	await page.keyboard.press("k");
	assert.match(await page.locator("tr.here").textContent(), /guides/);
	await page.keyboard.press("x");
	assert.equal(await page.locator("[data-selected]").textContent(), "1 selected");
	await page.keyboard.press("?");
	assert.ok(await page.locator("dialog.keys").isVisible());
	await page.keyboard.press("Escape");
	await page.keyboard.press("/");
	await page.keyboard.type("jx?");
	assert.equal(await page.locator("#q").inputValue(), "jx?");
	assert.ok(!(await page.locator("dialog.keys").isVisible()));
	assert.equal(await page.locator("[data-selected]").textContent(), "1 selected");
	await page.context().close();
	const file = await open("file");
	await file.keyboard.press("s"); // goes to the button, and does not sign
	assert.equal(await file.evaluate(() => document.activeElement.textContent), "Sign this file");
	await file.context().close();
});

test("times are kept current, and clocks count down", async () => {
	const page = await open("sync");
	await page.clock.install({ time: new Date("2026-11-21T14:02:12Z") });
	await page.goto(`${base}/sync.html`);
	const clock = page.locator("main time[data-countdown]").first();
	assert.equal(await clock.textContent(), "3:00");
	await page.clock.runFor(61_000);
	assert.equal(await clock.textContent(), "1:59");
	assert.match(await clock.getAttribute("title") ?? "", /2026/);
	await page.clock.runFor(130_000);
	assert.equal(await clock.textContent(), "due now");
	const run = page.locator(".runs time").first();
	assert.equal(await run.textContent(), "1 hour ago"); // 13:05:12, when it is past 14:05
	await page.context().close();
});

test("a fingerprint is copied whole", async () => {
	const page = await open("file", { permissions: ["clipboard-read", "clipboard-write"] });
	const print = page.locator("aside code[data-copy]").first();
	const whole = await print.getAttribute("data-copy");
	assert.match(whole, /^[0-9a-f]{64}$/);
	await print.click();
	assert.equal(await page.evaluate(() => navigator.clipboard.readText()), whole);
	await page.context().close();
});

test("a hostile name is text", async () => {
	const page = await open("tree");
	assert.equal(await page.locator("td a", { hasText: "<script>" }).count(), 1);
	assert.equal(await page.locator("main script").count(), 0);
	await page.context().close();
});
