// What the browser tests share: a server of their own (tests/lib/server.py), a browser, axe, screenshots.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, realpathSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export const top = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../..");
export const build = process.env.DRYDOCK_BUILD ?? path.join(top, "build");
const { chromium } = createRequire(path.join(top, "tests/"))("playwright-core");
const NEWS = /\/s\/www\/events\?/; // what the sync page listens to
const axe = readFileSync(path.join(top, "tests/node_modules/axe-core/axe.min.js"), "utf8");

export async function startServer(options) {
	const child = spawn("/usr/bin/python3", [path.join(top, "tests/lib/server.py"), JSON.stringify(options)],
		{ stdio: ["pipe", "pipe", "inherit"], env: { ...process.env, PYTHONDONTWRITEBYTECODE: "1" } });
	const ended = new Promise((done) => child.once("exit", done));
	const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
	const line = async () => {
		const { value, done } = await lines.next();
		if (done) throw new Error("the server has ended");
		return JSON.parse(value);
	};
	const server = await line();
	server.do = async (order) => {
		child.stdin.write(JSON.stringify(order) + "\n");
		const answer = await line();
		if (answer.error) throw new Error(answer.error);
		return answer.ok;
	};
	server.write = (at, content) => server.do({ do: "write", path: at, content });
	server.api = (method, at, body) => server.do({ do: "api", method, path: at, body });
	server.stop = async () => {
		child.stdin.end();
		await ended;
	};
	return server;
}

export function startBrowser() {
	return chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
		args: ["--disable-gpu", "--disable-dev-shm-usage", ...(process.getuid() === 0 ? ["--no-sandbox"] : [])] });
}

// A page whose script errors are collected, in a context of its own.
export async function openPage(browser, options = {}) {
	const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
	const page = await context.newPage();
	page.setDefaultTimeout(20_000);
	page.errors = [];
	page.on("pageerror", (e) => page.errors.push(e.message));
	page.on("console", (m) => { if (/Content Security Policy|Refused to/.test(m.text()) && m.location().url.startsWith(page.own ?? "-")) page.errors.push(m.text()); });
	page.on("dialog", (d) => { page.errors.push(`a dialog: ${d.message()}`); d.dismiss(); });
	return page;
}

export async function login(page, server, name = "alice") {
	page.own = server.url;
	await page.goto(`${server.url}/login`);
	await page.getByLabel("Name").fill(name);
	await page.getByLabel("Password").fill(server.password);
	await page.getByRole("button", { name: "Log in" }).click();
	await page.getByRole("heading", { level: 1 }).waitFor();
	assert.ok(!page.url().includes("/login"), await page.content());
}

// Violations of any weight, as one line each.
export async function violations(page) {
	await page.evaluate(axe);
	const found = await page.evaluate(() => window.axe.run({ resultTypes: ["violations"], iframes: false }));
	return found.violations.map((v) => `${v.impact}: ${v.id}: ${v.nodes[0].html.slice(0, 200)}`);
}

export async function tooWide(page) {
	return page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
}

export async function screenshot(page, name) {
	const dir = path.join(build, "screenshots");
	mkdirSync(dir, { recursive: true });
	await page.screenshot({ path: path.join(dir, `${name}.png`), fullPage: true });
}

// {path: SHA-256} of the regular files below a directory.
export function digests(dir) {
	const found = {}, root = realpathSync(dir);
	for (const entry of readdirSync(root, { recursive: true, withFileTypes: true }))
		if (entry.isFile()) {
			const file = path.join(entry.parentPath ?? entry.path, entry.name);
			found[file.slice(root.length)] = createHash("sha256").update(readFileSync(file)).digest("hex");
		}
	return found;
}

/*
 * The force on the sync page, and the end of its run. The page hears of no news meanwhile: it would load itself again at any
 * moment, and in the way of where the test goes next.
 */
export async function syncNow(page, server, reason) {
	const before = (await server.api("GET", "/api/v1/sites/www/sync")).run;
	await page.route(NEWS, (route) => route.abort());
	await page.goto(`${server.url}/s/www/sync`);
	await page.getByLabel("Why not wait?").fill(reason);
	await page.getByRole("button", { name: "Sync now" }).click();
	await page.waitForURL(/[?&]done=/);
	for (let i = 0; i < 600; i++) {
		const now = await server.api("GET", "/api/v1/sites/www/sync");
		if (now.run > before && !now.running) {
			await page.goto("about:blank");
			await page.unroute(NEWS);
			return (await server.api("GET", `/api/v1/sites/www/sync/runs/${now.run}`));
		}
		await new Promise((done) => setTimeout(done, 50));
	}
	throw new Error("the sync does not end");
}
