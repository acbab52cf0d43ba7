#include "core/record.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/utf8.h"

#define FORMAT 1
#define RECORD_LIMIT (1024 * 1024) /* bytes of a record; its files are elsewhere */
#define INT_LIMIT UINT64_C(9007199254740991) /* what RFC 8785 can write */
#define SUBJECT_NOTE 60 /* bytes of the note in a commit's first line */

/* --- checks, the same for both directions ----------------------------------------------------------------------------- */

static bool word_valid(const char *s)
{
	size_t n = strnlen(s, 33);

	if (n == 0 || n > 32)
		return false;
	for (size_t i = 0; i < n; i++)
		if ((s[i] < 'a' || s[i] > 'z') && (s[i] != '-' || i == 0))
			return false;
	return true;
}

static bool is_hex256(const char *s)
{
	struct sha256 any;

	return hex_parse(any.b, sizeof(any.b), s);
}

static bool field_valid(const json_t *v)
{
	size_t i;
	json_t *item;

	if (json_is_string(v) || json_is_integer(v) || json_is_boolean(v))
		return true;
	if (!json_is_array(v))
		return false;
	json_array_foreach(v, i, item) {
		if (!json_is_string(item))
			return false;
	}
	return true;
}

static bool fields_valid(json_t *fields)
{
	const char *name;
	json_t *v;

	if (!json_is_object(fields))
		return false;
	json_object_foreach(fields, name, v) {
		if (!field_valid(v))
			return false;
	}
	return true;
}

static bool user_valid(const struct identity *who)
{
	struct buf text = BUF_INIT(PRINCIPAL_LIMIT);

	buf_str(&text, who->provider);
	buf_char(&text, ':');
	buf_str(&text, who->name);
	bool ok = !text.over && principal_valid(buf_text(&text)) && !principal_is_group(buf_text(&text));
	buf_release(&text);
	return ok;
}

static bool time_valid(int64_t at)
{
	char text[CLOCK_TEXT_SIZE];
	int64_t back;

	clock_text(at, text);
	return clock_parse(&back, text) == ERR_OK && back == at;
}

/* What is wrong with it, or NULL. */
static const char *problem(const struct record *r)
{
	if (!site_name_valid(r->site) && strcmp(r->site, "installation") != 0)
		return "site";
	if (!is_hex256(r->node))
		return "node";
	if (r->seq == 0 || r->seq > INT_LIMIT)
		return "seq";
	if (!word_valid(r->act))
		return "act";
	if (!time_valid(r->at))
		return "at";
	if (!user_valid(&r->actor))
		return "actor";
	for (size_t i = 0; i < r->actor.n_groups; i++)
		if (!principal_valid(r->actor.groups[i]) || !principal_is_group(r->actor.groups[i]))
			return "actor.groups";
	if (r->rule.principal && !principal_valid(r->rule.principal))
		return "actor.rule";
	if (*r->shown && strcmp(r->shown, "as-staged") != 0 && !is_hex256(r->shown))
		return "shown";
	if (!utf8_clean(r->meaning, strlen(r->meaning), false))
		return "meaning";
	if (!utf8_clean(r->note, strlen(r->note), true))
		return "note: it must be text without control characters";
	if (!fields_valid(r->fields))
		return "fields";
	if (r->files_count > RECORD_FILES_LIMIT)
		return "files.count";
	return NULL;
}

/* --- record ----------------------------------------------------------------------------------------------------------- */

static json_t *hex_json(const void *p, size_t n)
{
	char hex[SHA256_HEX];

	hex_of(hex, p, n);
	return json_string(hex);
}

static int compare_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorted and each once, whatever order the host listed them in. */
static json_t *groups_json(const struct identity *who)
{
	const char **sorted = mem_array(who->n_groups, sizeof(*sorted));
	json_t *list = json_array();

	for (size_t i = 0; i < who->n_groups; i++)
		sorted[i] = who->groups[i];
	if (who->n_groups)
		qsort(sorted, who->n_groups, sizeof(*sorted), compare_text);
	for (size_t i = 0; i < who->n_groups; i++)
		if (i == 0 || strcmp(sorted[i - 1], sorted[i]) != 0)
			json_array_append_new(list, json_string(sorted[i]));
	free(sorted);
	return list;
}

static json_t *actor_json(const struct record *r)
{
	json_t *rule = r->rule.principal ? json_pack("{s:s, s:s%, s:s}", "principal", r->rule.principal, "path", r->rule.path.s,
	                                       r->rule.path.len, "role", role_name(r->rule.role))
	                                 : json_null();

	return json_pack("{s:s, s:s, s:o, s:o}", "name", r->actor.name, "provider", r->actor.provider, "groups",
	    groups_json(&r->actor), "rule", rule);
}

enum err record_encode(const struct record *r, struct buf *out)
{
	char op[UUID_TEXT], at[CLOCK_TEXT_SIZE];
	const char *what;

	if (strlen(r->note) > RECORD_NOTE_LIMIT)
		return err_set(ERR_TOO_BIG, "the note is longer than %d bytes", RECORD_NOTE_LIMIT);
	if ((what = problem(r)))
		return err_set(ERR_INPUT, "not a record: %s", what);
	uuid_text(&r->op, op);
	clock_text(r->at, at);
	/* clang-format off */
	json_t *v = json_pack("{s:i, s:s, s:s, s:I, s:s, s:s, s:s, s:o, s:o, s:s, s:s, s:s, s:O, s:{s:I, s:o}, s:o}",
	    "v", FORMAT,
	    "site", r->site,
	    "node", r->node,
	    "seq", (json_int_t)r->seq,
	    "op", op,
	    "act", r->act,
	    "at", at,
	    "actor", actor_json(r),
	    "policy", hex_json(r->policy.b, sizeof(r->policy.b)),
	    "shown", r->shown,
	    "meaning", r->meaning,
	    "note", r->note,
	    "fields", r->fields,
	    "files", "count", (json_int_t)r->files_count, "sha256", hex_json(r->files_sha256.b, sizeof(r->files_sha256.b)),
	    "prev", hex_json(r->prev.b, sizeof(r->prev.b)));
	/* clang-format on */
	if (!v)
		return err_set(ERR_INPUT, "not a record: a text that is not valid UTF-8");
	enum err e = json_canonical(out, v);
	json_decref(v);
	return e;
}

static const char *text_member(const json_t *v, const char *name, struct arena *a, bool *bad)
{
	const char *s = json_get_str(v, name, bad);

	if (!s) {
		*bad = true;
		return "";
	}
	return arena_dup(a, s);
}

static void hex_member(const json_t *v, const char *name, void *out, size_t n, bool *bad)
{
	const char *s = json_get_str(v, name, bad);

	if (!s || !hex_parse(out, n, s))
		*bad = true;
}

static uint64_t number_member(const json_t *v, const char *name, bool *bad)
{
	int64_t n = json_get_int(v, name, -1, bad);

	if (n < 0 || (uint64_t)n > INT_LIMIT) {
		*bad = true;
		return 0;
	}
	return (uint64_t)n;
}

static void time_member(const json_t *v, const char *name, int64_t *out, bool *bad)
{
	const char *s = json_get_str(v, name, bad);

	if (!s || clock_parse(out, s))
		*bad = true;
}

static void decode_actor(struct record *r, const json_t *v, struct arena *a, bool *bad)
{
	r->actor.name = text_member(v, "name", a, bad);
	r->actor.provider = text_member(v, "provider", a, bad);
	r->actor.user = arena_printf(a, "%s:%s", r->actor.provider, r->actor.name);
	json_t *groups = json_get_list(v, "groups", bad), *item;
	size_t i;
	const char **list = arena_alloc(a, json_array_size(groups) * sizeof(*list));
	json_array_foreach(groups, i, item) {
		if (!json_is_string(item)) {
			*bad = true;
			return;
		}
		list[i] = arena_dup(a, json_string_value(item));
	}
	r->actor.groups = list;
	r->actor.n_groups = json_array_size(groups);

	/* Absent instead of null is caught when the bytes are compared. */
	json_t *rule = json_get_obj(v, "rule", bad);
	if (!rule)
		return;
	r->rule.principal = text_member(rule, "principal", a, bad);
	const char *path = text_member(rule, "path", a, bad), *role = text_member(rule, "role", a, bad);
	if (path_check(&r->rule.path, path) || !role_parse(&r->rule.role, role))
		*bad = true;
}

static void decode(struct record *r, json_t *v, struct arena *a, bool *bad)
{
	r->site = text_member(v, "site", a, bad);
	r->node = text_member(v, "node", a, bad);
	r->seq = number_member(v, "seq", bad);
	if (!uuid_parse(&r->op, text_member(v, "op", a, bad)))
		*bad = true;
	r->act = text_member(v, "act", a, bad);
	time_member(v, "at", &r->at, bad);
	decode_actor(r, json_get_obj(v, "actor", bad), a, bad);
	hex_member(v, "policy", r->policy.b, sizeof(r->policy.b), bad);
	r->shown = text_member(v, "shown", a, bad);
	r->meaning = text_member(v, "meaning", a, bad);
	r->note = text_member(v, "note", a, bad);
	r->fields = json_get_obj(v, "fields", bad);
	json_t *files = json_get_obj(v, "files", bad);
	r->files_count = number_member(files, "count", bad);
	hex_member(files, "sha256", r->files_sha256.b, sizeof(r->files_sha256.b), bad);
	hex_member(v, "prev", r->prev.b, sizeof(r->prev.b), bad);
	if (json_get_int(v, "v", 0, bad) != FORMAT || !r->fields)
		*bad = true;
}

enum err record_decode(struct record *r, const char *bytes, size_t n, struct arena *a)
{
	struct buf again = BUF_INIT(RECORD_LIMIT);
	json_t *v = NULL;
	bool bad = false;
	enum err e;

	*r = (struct record){ 0 };
	if (n > RECORD_LIMIT)
		return err_set(ERR_INPUT, "not a record: longer than %d bytes", RECORD_LIMIT);
	if ((e = json_parse(&v, bytes, n)))
		return err_prefix(e, "not a record");
	decode(r, v, a, &bad);
	/* One way to write each record, or digests and signatures would not speak for its meaning. */
	if (bad || record_encode(r, &again) || again.len != n || memcmp(again.p, bytes, n) != 0) {
		e = err_set(ERR_INPUT, "not a record of format %d in the form that DryDock writes", FORMAT);
		*r = (struct record){ 0 };
	} else {
		json_incref(r->fields);
	}
	buf_release(&again);
	json_decref(v);
	return e;
}

/* --- files ------------------------------------------------------------------------------------------------------------ */

void record_file_encode(const struct record_file *f, struct buf *out)
{
	struct json_out o = { .b = out };
	char mtime[CLOCK_TEXT_SIZE], hex[SHA256_HEX];

	clock_text(f->mtime, mtime);
	json_out_begin(&o, '{');
	hex_of(hex, f->blob.b, sizeof(f->blob.b));
	json_out_kstr(&o, "blob", hex);
	json_out_kbool(&o, "exec", f->print.exec);
	hex_of(hex, f->print.md5.b, sizeof(f->print.md5.b));
	json_out_kstr(&o, "md5", hex);
	json_out_kstr(&o, "mtime", mtime);
	json_out_name(&o, "path");
	json_out_strn(&o, f->path.s, f->path.len);
	json_out_kint(&o, "replaces", (int64_t)f->replaces);
	hex_of(hex, f->print.sha256.b, sizeof(f->print.sha256.b));
	json_out_kstr(&o, "sha256", hex);
	json_out_kint(&o, "size", (int64_t)f->print.size);
	json_out_end(&o, '}');
	buf_char(out, '\n');
}

/* --- a line read without a parser: most of a large log is such lines --------------------------------------------------- */

struct scan { const char *p, *end; };

static bool scan_text(struct scan *s, const char *text)
{
	size_t n = strlen(text);

	if ((size_t)(s->end - s->p) < n || memcmp(s->p, text, n) != 0)
		return false;
	s->p += n;
	return true;
}

static bool scan_hex(struct scan *s, void *out, size_t n)
{
	char hex[SHA256_HEX];

	if ((size_t)(s->end - s->p) < 2 * n)
		return false;
	memcpy(hex, s->p, 2 * n);
	hex[2 * n] = '\0';
	s->p += 2 * n;
	return hex_parse(out, n, hex);
}

static bool scan_number(struct scan *s, uint64_t *out)
{
	const char *from = s->p;

	for (*out = 0; s->p < s->end && *s->p >= '0' && *s->p <= '9' && s->p - from < 16; s->p++)
		*out = *out * 10 + (uint64_t)(*s->p - '0');
	/* What JSON cannot hold is refused where that is said. */
	return s->p > from && *out <= INT_LIMIT;
}

/* Up to the next quote; what is escaped is for the parser. */
static bool scan_string(struct scan *s, const char **out, size_t *n)
{
	const char *quote = memchr(s->p, '"', (size_t)(s->end - s->p));

	if (!quote || memchr(s->p, '\\', (size_t)(quote - s->p)))
		return false;
	*out = s->p;
	*n = (size_t)(quote - s->p);
	s->p = quote;
	return true;
}

/* The form that record_file_encode() gives most files. Whether it is that to the byte, the caller sees. */
static bool scan_file(struct record_file *f, const char *line, size_t n, struct arena *a)
{
	struct scan s = { line, line + n };
	char mtime[CLOCK_TEXT_SIZE];
	const char *text, *path;
	size_t len, path_len;

	if (!scan_text(&s, "{\"blob\":\"") || !scan_hex(&s, f->blob.b, sizeof(f->blob.b)) || !scan_text(&s, "\",\"exec\":"))
		return false;
	f->print.exec = scan_text(&s, "true");
	if ((!f->print.exec && !scan_text(&s, "false")) || !scan_text(&s, ",\"md5\":\"") || !scan_hex(&s, f->print.md5.b, sizeof(f->print.md5.b)) ||
	    !scan_text(&s, "\",\"mtime\":\"") || !scan_string(&s, &text, &len) || len >= sizeof(mtime))
		return false;
	memcpy(mtime, text, len);
	mtime[len] = '\0';
	return clock_parse(&f->mtime, mtime) == ERR_OK && scan_text(&s, "\",\"path\":\"") && scan_string(&s, &path, &path_len) &&
	    scan_text(&s, "\",\"replaces\":") && scan_number(&s, &f->replaces) && scan_text(&s, ",\"sha256\":\"") &&
	    scan_hex(&s, f->print.sha256.b, sizeof(f->print.sha256.b)) && scan_text(&s, "\",\"size\":") && scan_number(&s, &f->print.size) &&
	    scan_text(&s, "}\n") && s.p == s.end && path_parse(&f->path, path, path_len, a) == ERR_OK;
}

static bool same_line(const struct record_file *f, struct buf *again, const char *line, size_t n)
{
	buf_reset(again);
	record_file_encode(f, again);
	return again->len == n && memcmp(again->p, line, n) == 0;
}

enum err record_file_decode(struct record_file *f, const char *line, size_t n, struct arena *a)
{
	struct buf again = BUF_INIT(2 * PATH_LIMIT + 512);
	json_t *v = NULL;
	bool bad = false;
	enum err e;

	*f = (struct record_file){ 0 };
	if (n > again.limit)
		return err_set(ERR_INPUT, "not a line of files: too long");
	if (scan_file(f, line, n, a) && same_line(f, &again, line, n)) {
		buf_release(&again);
		return ERR_OK;
	}
	*f = (struct record_file){ 0 };
	if ((e = json_parse(&v, line, n))) {
		buf_release(&again);
		return err_prefix(e, "not a line of files");
	}
	hex_member(v, "blob", f->blob.b, sizeof(f->blob.b), &bad);
	f->print.exec = json_get_bool(v, "exec", false, &bad);
	hex_member(v, "md5", f->print.md5.b, sizeof(f->print.md5.b), &bad);
	time_member(v, "mtime", &f->mtime, &bad);
	f->replaces = number_member(v, "replaces", &bad);
	hex_member(v, "sha256", f->print.sha256.b, sizeof(f->print.sha256.b), &bad);
	f->print.size = number_member(v, "size", &bad);
	const char *path = json_get_str(v, "path", &bad);
	if (!path || path_parse(&f->path, path, strlen(path), a))
		bad = true;
	if (bad || !same_line(f, &again, line, n))
		e = err_set(ERR_INPUT, "not a line of files in the form that DryDock writes");
	buf_release(&again);
	json_decref(v);
	return e;
}

/* --- commit message --------------------------------------------------------------------------------------------------- */

/* The first line of the note, at most SUBJECT_NOTE bytes, cut between characters. */
static void put_note(const char *note, struct buf *out)
{
	size_t n = strcspn(note, "\r\n"), i = 0, len;
	bool more = note[n] != '\0';
	uint32_t cp;

	while (i < n && (len = utf8_decode(note + i, n - i, &cp)) && i + len <= SUBJECT_NOTE)
		i += len;
	utf8_visible(out, note, i, false);
	if (i < n || more)
		buf_str(out, "...");
}

bool record_cuts_release(const char *act)
{
	return strcmp(act, "release") == 0 || strcmp(act, "rollback") == 0;
}

void record_message(const struct record *r, const struct sha256 *digest, struct buf *out)
{
	char op[UUID_TEXT];

	buf_str(out, r->act);
	if (r->files_count)
		buf_fmt(out, " %llu file%s", (unsigned long long)r->files_count, r->files_count == 1 ? "" : "s");
	if (*r->note) {
		buf_str(out, ": ");
		put_note(r->note, out);
	}
	uuid_text(&r->op, op);
	buf_fmt(out, "\n\nSeq: %llu\nOp: %s\nRecord-SHA256: ", (unsigned long long)r->seq, op);
	buf_hex(out, digest->b, sizeof(digest->b));
	buf_char(out, '\n');
}
