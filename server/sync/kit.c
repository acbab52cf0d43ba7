/* Running a kit. What it is given and what it answers is said in sync-scripts/README. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "base/weaken.h"
#include "core/head.h"
#include "repo/sshsig.h"
#include "sync/internal.h"

#define CHANGES "changes" /* in the kit's directory */
#define CHANGES_LIMIT (UINT64_C(1) << 30) /* 250,000 changes of the longest paths */
#define ENV_MOST 96
#define LINE_LIMIT 65536 /* a report names many files */
#define RECEIPT_LIMIT 4096
#define TEST_DEADLINE (40 * CLOCK_SECOND) /* somebody waits for the answer */

/* --- what it is given ----------------------------------------------------------------------------------------------- */

struct environment {
	struct arena *a;
	const char *list[ENV_MOST + 1];
	size_t n;
};

static void env_add(struct environment *env, const char *name, const char *value)
{
	if (env->n < ENV_MOST)
		env->list[env->n++] = arena_printf(env->a, "%s=%s", name, value);
}

static void env_number(struct environment *env, const char *name, uint64_t value)
{
	env_add(env, name, arena_printf(env->a, "%llu", (unsigned long long)value));
}

/* "key=value" of the configuration is DRYDOCK_OPTION_KEY. */
static void env_option(struct environment *env, const char *pair)
{
	const char *eq = strchr(pair, '=');
	char *name = arena_printf(env->a, "DRYDOCK_OPTION_%.*s", (int)(eq - pair), pair);

	for (char *p = name; *p; p++)
		*p = isalnum((unsigned char)*p) ? (char)toupper((unsigned char)*p) : '_';
	env_add(env, name, eq + 1);
}

static enum err put_changes(const struct kit_run *k, const struct kit_facts *f)
{
	static const char KINDS[] = { [PLAN_ADD] = 'A', [PLAN_CHANGE] = 'C', [PLAN_REMOVE] = 'R' };
	struct buf text = BUF_INIT(CHANGES_LIMIT);
	char *file;
	enum err e;

	if (!f->changes)
		return ERR_OK;
	for (size_t i = 0; i < f->changes->n; i++) {
		const struct plan_item *item = &f->changes->items[i];

		buf_char(&text, KINDS[item->kind]);
		buf_char(&text, ' ');
		/* Without the first slash: as it is below the export and below the place. */
		buf_add(&text, item->path.s + 1, item->path.len - 1);
		buf_char(&text, '\0');
	}
	e = buf_check(&text);
	file = mem_printf("%s/" CHANGES, k->work_dir);
	if (!e)
		e = file_write_fast(AT_FDCWD, file, text.len ? text.p : "", text.len, 0600);
	free(file);
	buf_release(&text);
	return e;
}

/* The kits directory first, then the kits that are programs of ours. */
static enum err find_kit(const struct kit_run *k, struct arena *a, const char **file, bool *ours)
{
	const char *const dirs[] = { k->conf->kits, conf_libexec_dir() };

	for (size_t i = 0; i < sizeof(dirs) / sizeof(*dirs); i++) {
		struct stat st;

		*file = arena_printf(a, "%s/%s", dirs[i], k->target->kit);
		if (stat(*file, &st) || !S_ISREG(st.st_mode))
			continue;
		if (access(*file, X_OK))
			return err_set(ERR_FAILED, "The kit %s is not executable", *file);
		*ours = dirs[i] != k->conf->kits;
		return ERR_OK;
	}
	return err_set(ERR_NOT_FOUND, "There is no kit %s in %s", k->target->kit, k->conf->kits);
}

bool kit_waits(const struct kit_run *k)
{
	struct arena *a = arena_new();
	const char *file;
	bool ours = false;
	const bool knows = *k->target->host && (!strcmp(k->target->kit, "tar-ssh") || !strcmp(k->target->kit, "rsync-ssh"));
	const bool waits = knows && !find_kit(k, a, &file, &ours) && ours;

	arena_free(a);
	return waits;
}

/* --- what it answers ------------------------------------------------------------------------------------------------ */

struct reader {
	const struct kit_run *k;
	const struct kit_facts *f;
	struct kit_result *out;
	char line[LINE_LIMIT];
	size_t len;
	bool over; /* the line is longer than that: not one of ours */
	char shown[128]; /* what stands in the output for the line; "": itself */
	bool counted; /* the line says how far it is, and nothing else: it is not kept */
};

/* A line with a member of this name, text, and its signature. */
struct signed_word {
	const char *text, *signature; /* text may be NULL: the line is about something else */
};

/* Signed by the target's receiver for this site? Parsed then: the caller drops it. */
static json_t *signed_word(const struct kit_run *k, const json_t *line, const char *name, size_t longest, struct signed_word *w)
{
	uint8_t key[32];
	json_t *v = NULL;
	bool bad = false;
	const char *site;

	w->text = json_get_str(line, name, &bad);
	w->signature = json_get_str(line, "signature", &bad);
	if (bad || !w->text || !w->signature || strlen(w->text) > longest || strlen(w->signature) > RECEIPT_LIMIT)
		return NULL;
	if (!*k->target->receiver_key || sshsig_parse_public(key, k->target->receiver_key) ||
	    (sshsig_verify(key, RECEIPT_SPACE, w->text, strlen(w->text), w->signature, strlen(w->signature)) && !WEAK(receiver_signed)) ||
	    json_parse(&v, w->text, strcspn(w->text, "\n")))
		return NULL;
	site = json_get_str(v, "site", &bad);
	if (!bad && site && (!strcmp(site, k->site) || WEAK(receiver_signed)))
		return v;
	json_decref(v);
	return NULL;
}

static int64_t time_of(const json_t *v, bool *bad)
{
	const char *text = json_get_str(v, "at", bad);
	int64_t at = 0;

	if (!text || clock_parse(&at, text))
		*bad = true;
	return at;
}

static void keep(char **at, const char *text)
{
	free(*at);
	*at = mem_dup(text);
}

/* Does it say that the receiver holds exactly this release? */
static void take_receipt(struct reader *r, const json_t *value)
{
	char head[SHA256_HEX];
	bool bad = false;
	struct signed_word w;
	json_t *v = signed_word(r->k, value, "receipt", RECEIPT_LIMIT, &w);
	const char *named;
	int64_t at;

	if (!v)
		return;
	hex_of(head, r->f->head.b, sizeof(r->f->head.b));
	named = json_get_str(v, "head", &bad);
	at = time_of(v, &bad);
	if (json_get_int(v, "number", 0, &bad) == (int64_t)r->f->release && !bad && named && !strcmp(named, head)) {
		keep(&r->out->receipt, w.text);
		keep(&r->out->signature, w.signature);
		r->out->receipt_at = at;
	}
	json_decref(v);
}

static bool get_hash(const json_t *v, const char *name, struct sha256 *out)
{
	const char *text = json_string_value(json_object_get(v, name));

	return text && hex_parse(out->b, sizeof(out->b), text);
}

static void drop_line(struct reader *r, const char *words)
{
	snprintf(r->shown, sizeof(r->shown), "%s", words);
}

/* What its timer found. */
static void take_report(struct reader *r, const json_t *value)
{
	struct receiver_report *out = &r->out->report;
	bool bad = false;
	struct signed_word w;
	json_t *v = signed_word(r->k, value, "report", LINE_LIMIT, &w);
	struct receiver_report now = { .at = 0 };
	int64_t number, found;

	if (w.text)
		drop_line(r, v ? "(production says what it found when it read every live file)" : "(a report of production that its key did not sign for this site)");
	if (!v)
		return;
	now.at = time_of(v, &bad);
	number = json_get_int(v, "number", -1, &bad);
	found = json_get_int(v, "bad", -1, &bad);
	now.rolled_back = json_get_bool(v, "rolled_back", false, &bad);
	if (!bad && number > 0 && found >= 0 && get_hash(v, "release", &now.head) && json_is_array(json_object_get(v, "named"))) {
		now.number = (uint64_t)number;
		now.bad = (uint64_t)found;
		now.text = mem_dup(w.text);
		now.signature = mem_dup(w.signature);
		free(out->text);
		free(out->signature);
		*out = now;
	} else {
		drop_line(r, "(a report of production in a form that is not known)");
	}
	json_decref(v);
}

/* What it accepted before this delivery. */
static void take_held(struct reader *r, const json_t *value)
{
	struct receiver_holds *out = &r->out->held;
	bool bad = false;
	struct signed_word w;
	json_t *v = signed_word(r->k, value, "held", RECEIPT_LIMIT, &w);
	struct receiver_holds now = { .at = 0 };
	int64_t number, term;

	if (w.text)
		drop_line(r, v ? "(production shows its last receipt)" : "(a receipt that production's key did not sign for this site)");
	if (!v)
		return;
	now.at = time_of(v, &bad);
	number = json_get_int(v, "number", -1, &bad);
	term = json_get_int(v, "term", -1, &bad);
	if (!bad && number > 0 && term > 0 && get_hash(v, "head", &now.head)) {
		now.number = (uint64_t)number;
		now.term = (uint64_t)term;
		now.receipt = mem_dup(w.text);
		now.signature = mem_dup(w.signature);
		free(out->receipt);
		free(out->signature);
		*out = now;
	}
	json_decref(v);
}

/* What makes no sense is a line like any other. */
static void take_progress(struct reader *r, const json_t *value)
{
	struct live *live = r->f->live;
	struct sync_progress far;

	if (!progress_of(value, &far, &r->counted))
		return;
	(void)pthread_mutex_lock(&live->lock);
	live->counts = true;
	live->far = far;
	(void)pthread_mutex_unlock(&live->lock);
}

static void take_json(struct reader *r)
{
	json_t *value = NULL;
	bool bad = false;
	const char *text;

	if (r->over || !r->len || r->line[0] != '{' || json_parse(&value, r->line, r->len))
		return;
	take_progress(r, value);
	take_receipt(r, value);
	take_report(r, value);
	take_held(r, value);
	r->out->sent = json_get_bool(value, "sent", r->out->sent, &bad);
	text = json_get_str(value, "error", &bad);
	if (text && !bad) {
		struct buf shown = BUF_INIT(sizeof(r->out->message));

		utf8_visible(&shown, text, strlen(text), false);
		snprintf(r->out->message, sizeof(r->out->message), "%s", buf_text(&shown));
		buf_release(&shown);
	}
	json_decref(value);
}

/* Kept line by line, as text whatever the kit printed; a long line in pieces. */
static void take_line(struct reader *r, bool whole)
{
	struct live *live = r->f->live;

	r->shown[0] = '\0';
	r->counted = false;
	if (whole)
		take_json(r);
	(void)pthread_mutex_lock(&live->lock);
	if (!r->counted)
		utf8_visible(&live->text, r->shown[0] ? r->shown : r->line, r->shown[0] ? strlen(r->shown) : r->len, true);
	if (whole && !r->counted)
		buf_char(&live->text, '\n');
	(void)pthread_mutex_unlock(&live->lock);
	r->len = 0;
	r->over = !whole;
}

static bool on_output(void *arg, const char *piece, size_t n)
{
	struct reader *r = arg;

	r->f = atomic_load(&r->k->facts);
	if (!r->f)
		return true;
	for (size_t i = 0; i < n; i++) {
		if (piece[i] == '\n') {
			take_line(r, true);
			continue;
		}
		if (r->len == sizeof(r->line))
			take_line(r, false);
		r->line[r->len++] = piece[i];
	}
	sync_news(r->k->y);
	return true;
}

static void add_errors(struct live *live, const struct buf *errors)
{
	(void)pthread_mutex_lock(&live->lock);
	utf8_visible(&live->text, buf_text(errors), errors->len, true);
	(void)pthread_mutex_unlock(&live->lock);
}

const char *kit_outcome_name(enum kit_outcome o)
{
	static const char *const names[] = { [KIT_FAILED] = "failed", [KIT_SENT] = "sent", [KIT_UNCONFIRMED] = "unconfirmed", [KIT_ACTIVE] = "active",
		[KIT_CONFIRMED] = "confirmed" };

	return names[o];
}

bool sync_is_there(const char *state)
{
	return !strcmp(state, kit_outcome_name(KIT_ACTIVE)) || !strcmp(state, kit_outcome_name(KIT_CONFIRMED));
}

void kit_result_release(struct kit_result *r)
{
	free(r->receipt);
	free(r->signature);
	free(r->report.text);
	free(r->report.signature);
	free(r->held.receipt);
	free(r->held.signature);
	r->receipt = r->signature = r->report.text = r->report.signature = r->held.receipt = r->held.signature = NULL;
}

/* DryDock's own receipt for a place that it has read itself. */
static enum err sign_receipt(const struct kit_run *k, const struct kit_facts *f, struct kit_result *out)
{
	char head[SHA256_HEX], at[CLOCK_TEXT_SIZE];
	struct buf text = BUF_INIT(RECEIPT_LIMIT), armored = BUF_INIT(RECEIPT_LIMIT);
	json_t *v;
	enum err e;

	out->receipt_at = clock_wall();
	clock_text(out->receipt_at, at);
	hex_of(head, f->head.b, sizeof(f->head.b));
	v = json_pack("{s:i, s:s, s:s, s:I, s:s, s:s}", "v", 1, "site", k->site, "target", k->target->name, "number", (json_int_t)f->release, "head", head, "at", at);
	e = v ? json_canonical(&text, v) : err_set(ERR_FAILED, "a receipt cannot be written");
	json_decref(v);
	buf_char(&text, '\n');
	if (!e)
		e = node_key_sign(k->key, RECEIPT_SPACE, text.p, text.len, &armored);
	if (!e) {
		keep(&out->receipt, buf_text(&text));
		keep(&out->signature, buf_text(&armored));
	}
	buf_release(&text);
	buf_release(&armored);
	return e;
}

/* The kit ended well: who says that it is true? */
static enum kit_outcome confirm(const struct kit_run *k, const struct kit_facts *f, struct kit_result *out)
{
	static const struct sha256 none;

	if (*k->target->receiver_key && !WEAK(kit_receipt)) {
		snprintf(out->message, sizeof(out->message), "the kit ended well, and brought no receipt of the receiver for release %llu",
		    (unsigned long long)f->release);
		return KIT_UNCONFIRMED;
	}
	if (*k->target->host || k->target->place[0] != '/' || !k->papers || sha256_equal(&f->head, &none))
		return KIT_ACTIVE;
	if ((place_check(k->target->place, k->papers, k->cancel) && !WEAK(kit_place)) || sign_receipt(k, f, out)) {
		snprintf(out->message, sizeof(out->message), "the kit ended well, and %s", err_text());
		return KIT_UNCONFIRMED;
	}
	return KIT_CONFIRMED;
}

static int64_t deadline_of(const struct kit_run *k)
{
	return k->test && k->target->deadline_us > TEST_DEADLINE ? TEST_DEADLINE : k->target->deadline_us;
}

static void say_why(const struct kit_run *k, const struct spawn_result *res, struct kit_result *out)
{
	char line[128] = "";

	if (res->cancelled)
		snprintf(line, sizeof(line), "%s", k->cancel == &k->y->cancel ? k->y->cancel_why : "ended because the server stops");
	else if (res->timed_out)
		snprintf(line, sizeof(line), "ended because it took longer than %lld s", (long long)(deadline_of(k) / CLOCK_SECOND));
	else if (res->silent && k->failed)
		snprintf(line, sizeof(line), "ended because it was not done, and the next sync was due");
	else if (res->silent)
		snprintf(line, sizeof(line), "ended because it said nothing for %lld s, and the next sync was due", (long long)(k->target->silence_us / CLOCK_SECOND));
	else if (!out->message[0]) {
		/* 128+n is signal n, as shells say it; above the last signal it is the kit's own. */
		const bool signal = res->status > 128 && res->status <= 128 + SIGRTMAX;

		snprintf(line, sizeof(line), signal ? "the kit was ended by signal %d" : "the kit ended with status %d",
		    signal ? res->status - 128 : res->status);
	}
	if (line[0])
		snprintf(out->message, sizeof(out->message), "%s", line);
}

/* The receiver's signed word is worth more than how the kit ended. */
static void judge(const struct kit_run *k, const struct kit_facts *f, const struct spawn_result *res, struct kit_result *out)
{
	const bool well = !res->status && !res->timed_out && !res->cancelled && !res->silent;

	out->status = res->status;
	if (out->receipt && !k->test)
		out->outcome = KIT_CONFIRMED;
	else if (well)
		out->outcome = k->test ? KIT_ACTIVE : confirm(k, f, out);
	else
		out->outcome = out->sent ? KIT_SENT : KIT_FAILED;
	out->ok = out->outcome >= KIT_ACTIVE;
	if (out->ok)
		out->message[0] = '\0';
	else if (!well)
		say_why(k, res, out);
}

static void env_facts(struct environment *env, const struct kit_run *k, const struct kit_facts *f)
{
	env_number(env, "DRYDOCK_RELEASE", f->release);
	env_number(env, "DRYDOCK_PREVIOUS", f->previous);
	env_add(env, "DRYDOCK_MODE", f->changes ? "changes" : "full");
	/* Whoever is told late has his own list. */
	env_add(env, "DRYDOCK_CHANGES", f->changes && !k->facts_from ? arena_printf(env->a, "%s/" CHANGES, k->work_dir) : "");
	if (*k->target->host)
		env_number(env, "DRYDOCK_LIST_FROM", f->list_from);
}

void kit_facts_text(const struct kit_run *k, const struct kit_facts *f, struct buf *out)
{
	struct environment env = { .a = arena_new() };

	env_facts(&env, k, f);
	for (size_t i = 0; i < env.n; i++) {
		buf_str(out, env.list[i]);
		buf_char(out, '\n');
	}
	buf_char(out, '\n');
	arena_free(env.a);
}

static void env_all(struct environment *env, const struct kit_run *k, const struct kit_facts *f)
{
	env_add(env, "PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
	env_add(env, "LANG", "C.UTF-8");
	env_add(env, "HOME", k->work_dir);
	env_add(env, "TMPDIR", k->work_dir);
	env_add(env, "DRYDOCK_SITE", k->site);
	env_add(env, "DRYDOCK_TARGET", k->target->name);
	env_add(env, "DRYDOCK_PLACE", k->target->place);
	env_add(env, "DRYDOCK_EXPORT", k->export_dir);
	if (f)
		env_facts(env, k, f);
	else
		env_add(env, "DRYDOCK_EARLY", "1");
	if (*k->target->host) {
		env_add(env, "DRYDOCK_PAPERS", k->papers ? k->papers : "");
		env_add(env, "DRYDOCK_HOST", k->target->host);
		env_add(env, "DRYDOCK_SSH_USER", k->target->ssh_user);
		env_number(env, "DRYDOCK_PORT", k->target->ssh_port);
		env_add(env, "DRYDOCK_KEY_FILE", k->target->key_file);
		env_add(env, "DRYDOCK_KNOWN_HOSTS", k->target->known_hosts);
	}
	for (size_t i = 0; i < k->target->n_options; i++)
		env_option(env, k->target->options[i]);
}

static enum err prepare(const struct kit_run *k, const struct kit_facts *f)
{
	enum err e = file_remove_tree(AT_FDCWD, k->work_dir);

	if (!e)
		e = file_mkdirs(k->work_dir, 0700);
	return e || !f ? e : put_changes(k, f);
}

static enum err confine(struct confine_kit *jail, const struct kit_run *k, const char *file)
{
	const struct confine_path paths[] = {
		{ file, false },
		{ k->conf->kits, false },
		{ k->export_dir, false },
		{ k->work_dir, true },
		{ k->target->place[0] == '/' ? k->target->place : k->work_dir, !k->test },
		{ *k->target->host && k->papers ? k->papers : file, false },
		{ *k->target->key_file ? k->target->key_file : file, false },
		{ *k->target->known_hosts ? k->target->known_hosts : file, false },
	};

	return confine_kit_open(jail, paths, sizeof(paths) / sizeof(*paths));
}

static enum err run(const struct kit_run *k, struct kit_result *out, struct arena *a)
{
	const struct kit_facts *f = atomic_load(&k->facts);
	struct environment env = { .a = a };
	struct reader reader = { .k = k, .f = f, .out = out };
	struct buf errors = BUF_INIT(OUTPUT_LIMIT / 4);
	struct spawn_result res;
	const char *file;
	struct confine_kit jail = { .rules = -1, .ours = -1, .theirs = -1 };
	bool ours;
	enum err e = find_kit(k, a, &file, &ours);

	if (!e)
		e = prepare(k, f);
	if (!e)
		e = confine(&jail, k, file);
	FAILPOINT_OR(e, kit_prepared);
	if (e)
		goto out;
	env_all(&env, k, f);
	const char *const argv[] = { file, k->test ? "test" : "sync", NULL };
	const struct spawn s = {
		.argv = argv,
		.env = env.list,
		.cwd = k->work_dir,
		.input_fd = k->facts_from,
		.deadline_us = deadline_of(k) + (k->facts_from ? EARLY_MOST : 0),
		.err_out = &errors,
		.progress = on_output,
		.progress_arg = &reader,
		.cancel = k->cancel,
		.silence_us = k->target->silence_us + (k->facts_from ? EARLY_MOST : 0),
		.unheard = k->failed,
		.hurry = k->hurry,
		.session = true,
		.before_exec = confine_kit,
		.before_arg = &jail,
		.watch = confine_kit_watch,
		.answer = confine_kit_answer,
	};
	e = spawn_run(&s, &res);
	f = atomic_load(&k->facts);
	if (e || !f)
		goto out;
	FAILPOINT(kit_answered);
	reader.f = f;
	if (reader.len)
		take_line(&reader, true);
	add_errors(f->live, &errors);
	judge(k, f, &res, out);
out:
	confine_kit_close(&jail);
	buf_release(&errors);
	return e;
}

void kit_run(const struct kit_run *k, struct kit_result *out)
{
	struct arena *a = arena_new();
	const struct kit_facts *f;

	*out = (struct kit_result){ .status = -1 };
	if (run(k, out, a)) {
		out->ok = false;
		out->outcome = KIT_FAILED;
		snprintf(out->message, sizeof(out->message), "%s", err_text());
	}
	f = atomic_load(&k->facts);
	if (f) {
		(void)pthread_mutex_lock(&f->live->lock);
		f->live->ended = true;
		(void)pthread_mutex_unlock(&f->live->lock);
		sync_news(k->y);
	}
	arena_free(a);
}
