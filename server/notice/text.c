/* What a message says: the template notice.txt as mail (RFC 5322, 2045, 2047), and the same facts as JSON. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/utf8.h"
#include "notice/internal.h"
#include "view/show.h"

#define TEXT_LIMIT (256u * 1024)
#define WORD_BYTES 45 /* of an encoded word: 60 characters, and 12 around them; RFC 2047 allows 75 */
#define BODY_BYTES 57 /* a line of 76 characters of base64 */
#define PLAIN_LINE 900 /* RFC 5322 allows 998 */

/* One line, nothing in it that a terminal or a mail program acts on. */
static const char *one_line(struct arena *a, const char *text)
{
	struct buf b = BUF_INIT(4096);
	const char *out;

	utf8_visible(&b, text, strlen(text), false);
	out = arena_dup(a, buf_text(&b));
	buf_release(&b);
	return out;
}

static bool ascii(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text >= 0x80)
			return false;
	return true;
}

static const char *target_words(const char *target)
{
	return strcmp(target, NOTICE_SYNCS) ? target : "the sync itself";
}

static const char *list_targets(const char *told, bool live, bool words, struct arena *a)
{
	const char *out = "";
	bool site_listed = false;

	for (size_t n; *told; told += n + (told[n] == ' ')) {
		const bool is = (n = strcspn(told, " ")) > 0 && told[n - 1] == '!';
		const bool site = *told == *NOTICE_SYNCS;
		const char *name = site ? NOTICE_SYNCS : arena_printf(a, "%.*s", (int)(n - is), told);

		/* The site's syncs may have two reasons not to run. */
		if (is == live && !(site && site_listed))
			out = arena_printf(a, "%s%s%s", out, !*out ? "" : words ? ", " : " ", words ? target_words(name) : name);
		site_listed |= site;
	}
	return out;
}

const char *notice_targets(const char *told, bool live, struct arena *a)
{
	return list_targets(told, live, false, a);
}

const char *notice_words(const char *told, bool live, struct arena *a)
{
	return list_targets(told, live, true, a);
}

/* "a failed", "2 targets failed": of one kind. */
static void subject_part(struct arena *a, struct buf *b, const struct notice_message *m, bool live, bool failed)
{
	const char *name = "";
	size_t n = 0;

	for (size_t i = 0; i < m->n; i++)
		if (m->items[i].failed == failed && m->items[i].live == live) {
			name = target_words(m->items[i].target);
			n++;
		}
	if (!n)
		return;
	if (n > 1)
		name = arena_printf(a, "%zu targets", n);
	buf_str(b, b->len ? ", " : "");
	if (live)
		buf_fmt(b, failed ? "production differs on %s" : "production is as signed again on %s", name);
	else
		buf_fmt(b, "%s %s", name, failed ? "failed" : n == 1 ? "is well again" : "are well again");
}

static const char *subject(struct arena *a, const struct notice_message *m)
{
	struct buf b = BUF_INIT(1024);
	const char *out;

	if (m->test_by)
		return "a test";
	subject_part(a, &b, m, true, true);
	subject_part(a, &b, m, false, true);
	subject_part(a, &b, m, false, false);
	subject_part(a, &b, m, true, false);
	out = arena_dup(a, buf_text(&b));
	buf_release(&b);
	return out;
}

static const char *page(struct arena *a, const struct notice_message *m)
{
	const struct conf *c = m->conf;
	const bool v6 = strchr(c->address, ':');
	const char *base = *c->public_url ? c->public_url : arena_printf(a, "http://%s%s%s:%u", v6 ? "[" : "", c->address, v6 ? "]" : "", c->port);

	/* What stops the site is seen, and confirmed, beside its syncs. */
	if (m->run && !m->test_by && m->n && !m->items[0].live && strcmp(m->items[0].target, NOTICE_SYNCS) != 0)
		return arena_printf(a, "%s/s/%s/sync/%llu", base, m->site->name, (unsigned long long)m->run);
	return arena_printf(a, "%s/s/%s/sync", base, m->site->name);
}

/* --- mail ---------------------------------------------------------------------------------------------------------- */

static void fill(struct view_map *m, const struct notice_message *from, struct arena *a)
{
	struct view_list *l;

	view_set(m, VIEW_title, one_line(a, from->site->title));
	view_set(m, VIEW_subject, subject(a, from));
	view_set(m, VIEW_test, from->test_by ? one_line(a, from->test_by) : NULL);
	l = view_set_list(m, VIEW_targets);
	for (size_t i = 0; i < from->n; i++) {
		const struct notice_item *it = &from->items[i];
		struct view_map *row = view_list_add(l);

		view_set(row, VIEW_name, target_words(it->target));
		view_set_bool(row, VIEW_failed, it->failed && !it->live);
		view_set_bool(row, VIEW_recovered, !it->failed && !it->live);
		view_set_bool(row, VIEW_differs, it->failed && it->live);
		view_set_bool(row, VIEW_same, !it->failed && it->live);
		view_set(row, VIEW_count_word, it->differences ? arena_printf(a, "%s not what was signed in release %llu",
		    it->differences == 1 ? "1 live file is" : arena_printf(a, "%llu live files are", (unsigned long long)it->differences), (unsigned long long)it->release) :
		    arena_printf(a, "the release before release %llu was made live by hand", (unsigned long long)it->release));
		view_set_int(row, VIEW_release, (int64_t)it->release);
		view_set(row, VIEW_since, time_exact(a, it->since));
		view_set(row, VIEW_next, it->next ? time_exact(a, it->next) : NULL);
	}
	view_set(m, VIEW_message, one_line(a, from->why));
	view_set(m, VIEW_href, page(a, from));
}

void notice_header(struct buf *out, const char *text)
{
	char word[(WORD_BYTES + 2) / 3 * 4 + 1];

	if (ascii(text) && strlen(text) < PLAIN_LINE) {
		buf_str(out, text);
		return;
	}
	for (size_t left = strlen(text), n; left; left -= n, text += n) {
		n = left < WORD_BYTES ? left : WORD_BYTES;
		while (n < left && ((unsigned char)text[n] & 0xc0) == 0x80)
			n--;
		base64_of(word, text, n);
		buf_fmt(out, "=?UTF-8?B?%s?=%s", word, left > n ? "\r\n " : "");
	}
}

static bool plain(const char *body)
{
	if (!ascii(body))
		return false;
	for (size_t n; *body; body += n + (body[n] == '\n'))
		if ((n = strcspn(body, "\n")) > PLAIN_LINE)
			return false;
	return true;
}

static void put_body(struct buf *out, const char *body)
{
	char line[(BODY_BYTES + 2) / 3 * 4 + 1];

	if (plain(body)) {
		buf_str(out, "Content-Transfer-Encoding: 7bit\r\n\r\n");
		for (size_t n; *body; body += n + (body[n] == '\n')) {
			n = strcspn(body, "\n");
			buf_add(out, body, n);
			buf_str(out, "\r\n");
		}
		return;
	}
	buf_str(out, "Content-Transfer-Encoding: base64\r\n\r\n");
	for (size_t left = strlen(body), n; left; left -= n, body += n) {
		n = left < BODY_BYTES ? left : BODY_BYTES;
		base64_of(line, body, n);
		buf_fmt(out, "%s\r\n", line);
	}
}

/* "Sat, 21 Nov 2026 12:47:22 +0000", whatever the locale. */
static void put_date(struct buf *out, int64_t at)
{
	static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	const time_t seconds = at / CLOCK_SECOND;
	struct tm tm;

	(void)gmtime_r(&seconds, &tm);
	buf_fmt(out, "Date: %.3s, %02d %.3s %04d %02d:%02d:%02d +0000\r\n", days + 3 * tm.tm_wday, tm.tm_mday, months + 3 * tm.tm_mon,
	    tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

static void put_mail(struct buf *out, const struct notice_message *m, const char *text)
{
	const char *body = strchr(text, '\n'), *host = strrchr(m->conf->mail_from, '@');
	char id[UUID_TEXT];
	struct uuid uuid;
	struct buf first = BUF_INIT(4096);

	uuid_new(&uuid);
	uuid_text(&uuid, id);
	buf_add(&first, text, body ? (size_t)(body - text) : strlen(text));
	buf_fmt(out, "From: DryDock <%s>\r\nTo: ", m->conf->mail_from);
	for (size_t i = 0; i < m->site->n_mail_to; i++)
		buf_fmt(out, "%s<%s>", i ? ",\r\n " : "", m->site->mail_to[i]);
	buf_str(out, "\r\nSubject: ");
	notice_header(out, buf_text(&first));
	buf_str(out, "\r\n");
	put_date(out, m->at);
	buf_fmt(out, "Message-ID: <%s@%s>\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n", id, host ? host + 1 : "drydock");
	buf_str(out, "Content-Type: text/plain; charset=utf-8\r\n");
	put_body(out, body ? body + 1 : "");
	buf_release(&first);
}

enum err notice_mail(const struct notice_message *m, struct buf *out)
{
	struct arena *a = arena_new();
	struct view_map *model = view_map_new(a);
	struct view_set *set = NULL;
	struct buf text = BUF_INIT(TEXT_LIMIT);
	enum err e = view_load_text(&set, m->conf->templates);

	if (!e) {
		fill(model, m, a);
		e = view_render(set, "notice", model, &text);
		view_free(set);
	}
	if (!e) {
		put_mail(out, m, buf_text(&text));
		e = buf_check(out);
	}
	buf_release(&text);
	arena_free(a);
	return e;
}

/* --- webhook -------------------------------------------------------------------------------------------------------- */

static void put_time(struct json_out *o, const char *name, int64_t at)
{
	char text[CLOCK_TEXT_SIZE];

	clock_text(at, text);
	json_out_kstr(o, name, at ? text : NULL);
}

void notice_json(const struct notice_message *m, struct buf *out)
{
	struct arena *a = arena_new();
	struct json_out o = { .b = out };
	const char *event = m->test_by ? "test" : "sync_recovered";
	bool sync = false, live = false, failed = false;

	for (size_t i = 0; i < m->n; i++) {
		sync |= !m->items[i].live;
		live |= m->items[i].live && m->items[i].failed;
		failed |= !m->items[i].live && m->items[i].failed;
	}
	if (live || failed)
		event = live ? "production_differs" : "sync_failed";
	else if (!sync && m->n)
		event = "production_well";
	json_out_begin(&o, '{');
	json_out_kint(&o, "v", 1);
	json_out_kstr(&o, "event", event);
	json_out_kstr(&o, "installation", m->conf->name);
	json_out_kstr(&o, "site", m->site->name);
	put_time(&o, "at", m->at);
	json_out_kint(&o, "run", (int64_t)m->run);
	json_out_kstr(&o, "text", arena_printf(a, "%s: %s", one_line(a, m->site->title), subject(a, m)));
	json_out_kstr(&o, "message", one_line(a, m->why));
	json_out_kstr(&o, "url", page(a, m));
	json_out_name(&o, "targets");
	json_out_begin(&o, '[');
	for (size_t i = 0; i < m->n; i++) {
		const struct notice_item *it = &m->items[i];

		json_out_begin(&o, '{');
		json_out_kstr(&o, "name", it->target);
		json_out_kbool(&o, "failed", it->failed && !it->live);
		json_out_kbool(&o, "differs", it->failed && it->live);
		json_out_kint(&o, "differences", (int64_t)it->differences);
		json_out_kint(&o, "release", (int64_t)it->release);
		put_time(&o, "since", it->since);
		put_time(&o, "next", it->next);
		json_out_end(&o, '}');
	}
	json_out_end(&o, ']');
	json_out_end(&o, '}');
	arena_free(a);
}
