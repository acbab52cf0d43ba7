/*
 * drydockd key: the node's key changed, and the keys that there were.
 *
 * The change is one record in each log, the installation's first, signed by the key that goes; then the file of the key is
 * exchanged. Once it is noted (node_key_note) it will be done: a start that finds the note goes on where the last attempt ended,
 * before anything else is signed. While it is under way nothing but these records is signed, with the old key; afterwards
 * everything with the new one. So no log ever has two keys at once.
 */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "daemon/internal.h"
#include "repo/keychain.h"

/* --- every log ------------------------------------------------------------------------------------------------------------ */

static struct site *find_site(const struct installation *in, const char *name)
{
	if (strcmp(name, in->self->name) == 0)
		return in->self;
	for (size_t i = 0; i < in->n_sites; i++)
		if (strcmp(in->sites[i]->name, name) == 0)
			return in->sites[i];
	return NULL;
}

typedef enum err log_fn(struct installation *in, struct site *s, void *arg);

static enum err with_log(struct installation *in, const char *name, log_fn *fn, void *arg)
{
	struct site *s = find_site(in, name), *opened = NULL;
	enum err e = s ? ERR_OK : site_open_log(&opened, in->conf, name, in->key, in->turns, in->tools);

	if (!e)
		e = fn(in, s ? s : opened, arg);
	site_close(opened);
	return e ? err_prefix(e, "%s", name) : ERR_OK;
}

/* The installation's first; then every site that has a repository here, configured or not: without its record a log would end. */
static enum err each_log(struct installation *in, log_fn *fn, void *arg)
{
	char **names = datadir_sites(in->conf->data);
	enum err e = with_log(in, in->self->name, fn, arg);

	for (size_t i = 0; names[i]; i++) {
		if (!e)
			e = with_log(in, names[i], fn, arg);
		free(names[i]);
	}
	free(names);
	return e;
}

/* --- before anything is written --------------------------------------------------------------------------------------------- */

/* arg: when the change can be, after every record. */
static enum err look(struct installation *in, struct site *s, void *arg)
{
	struct arena *a = arena_new();
	struct db_record_row row;
	struct db_head head;
	int64_t *newest = arg;
	enum err e = s->read_only ? err_set(ERR_BUSY, "it is read-only: %s", s->read_only_reason) : ERR_OK;

	if (!e)
		e = db_head_get(tools_db(in->tools), s->name, node_key_id(in->key), &head);
	if (!e)
		e = db_record_get(tools_db(in->tools), s->name, node_key_id(in->key), head.seq, &row, a);
	if (!e && row.at > *newest)
		*newest = row.at;
	/* Times in allowed_signers have seconds, and ssh-keygen takes no key for one that ends when it begins. */
	if (!e && keychain_last(site_keychain(s))->at + CLOCK_SECOND > *newest)
		*newest = keychain_last(site_keychain(s))->at + CLOCK_SECOND;
	arena_free(a);
	return e;
}

/* Who sits there, for the record: the UNIX user; under sudo the one who called it. */
static void who(char out[PRINCIPAL_LIMIT + 1])
{
	const char *sudo = getenv("SUDO_USER");
	const struct passwd *pw = sudo && *sudo ? getpwnam(sudo) : getpwuid(getuid());

	snprintf(out, PRINCIPAL_LIMIT + 1, "unix:%s", pw ? pw->pw_name : "?");
	if (!principal_valid(out))
		snprintf(out, PRINCIPAL_LIMIT + 1, "unix:%lu", (unsigned long)getuid());
}

static enum err check_reason(const char *reason)
{
	if (!*reason)
		return err_set(ERR_INPUT, "Say with -m why the key is changed: it is recorded");
	if (strlen(reason) > RECORD_NOTE_LIMIT)
		return err_set(ERR_TOO_BIG, "The reason is too long: at most %d bytes", RECORD_NOTE_LIMIT);
	if (!utf8_clean(reason, strlen(reason), true))
		return err_set(ERR_INPUT, "The reason must be text (UTF-8) without control characters");
	return ERR_OK;
}

/* --- the change --------------------------------------------------------------------------------------------------------------- */

static enum err record_one(struct installation *in, struct site *s, void *arg)
{
	const struct key_note *note = arg;
	const struct node_key *next = node_key_next(in->key);
	struct act_answer answer;
	enum err e = ERR_OK;

	if (s->read_only)
		return err_set(ERR_BUSY, "it is read-only: %s", s->read_only_reason);
	if (!site_keychain(s))
		return ERR_OK; /* a site that is new: its log begins afterwards */
	/* An attempt before this one may have come as far as here. */
	if (memcmp(keychain_last(site_keychain(s))->key, node_key_bytes(next), 32) != 0)
		e = act_key(s, in->tools, next, note->at, note->by, note->reason, &answer);
	FAILPOINT_OR(e, key_record);
	return e;
}

/* A server that stays takes the change up again when it has every turn; until then nothing is signed (acts/decide.c). */
static bool waits_for_turns(const struct installation *in)
{
	bool waits = in->self->waits;

	for (size_t i = 0; i < in->n_sites; i++)
		waits |= in->sites[i]->waits;
	if (waits)
		log_event(LOG_LEVEL_WARN, "key.waits", "why", "a change of the node's key is completed as soon as this server has the turn of every site", NULL);
	return waits;
}

enum err key_change_complete(struct installation *in, bool *done)
{
	struct arena *a = arena_new();
	struct key_note note;
	struct buf armored = BUF_INIT(4096);
	const struct site_key_paper *papers, *last;
	size_t n;
	enum err e = node_key_note_read(in->conf->data, &note, a);

	*done = false;
	if (e) {
		e = e == ERR_NOT_FOUND ? ERR_OK : e;
		goto out;
	}
	if (node_key_next(in->key) && waits_for_turns(in))
		goto out;
	if (node_key_next(in->key))
		e = each_log(in, record_one, &note);
	FAILPOINT_OR(e, key_recorded);
	papers = site_key_papers(in->self, &n);
	if (!e && !n)
		e = err_set(ERR_FAILED, "the installation's log has no change of the key, and a note says that it has");
	if (!e) {
		last = &papers[n - 1];
		buf_str(&armored, last->signature);
		e = node_key_switch(in->conf->data, in->key, last->statement, last->len, &armored, &note, site_keychain(in->self)->keys[0].at);
	}
	FAILPOINT_OR(e, key_done);
	*done = !e;
	if (e)
		e = err_prefix(e, "The change of the node's key, which has begun, cannot be completed");
out:
	buf_release(&armored);
	arena_free(a);
	return e;
}

static void say_done(const struct conf *conf, bool before)
{
	printf("%s\nEvery record from now on is signed by the new key. `drydockd key list --data %s` shows its fingerprint: tell it whoever\n"
	       "checks your history. Receivers hear of it with the next release, which the next sync cuts. Make a backup now: one from before\n"
	       "holds a key that production no longer believes.\n",
	    before ? "A change of the key that was cut short is complete." : "The node's key is changed.", conf->data);
}

enum err daemon_key_change(const struct conf *conf, const struct key_options *o)
{
	struct installation *in = NULL;
	struct key_note note = { .reason = o->reason, .keep = o->keep };
	char by[PRINCIPAL_LIMIT + 1];
	enum err e = check_reason(o->reason);

	if (e)
		return e;
	who(by);
	note.by = by;
	e = installation_open(&in, conf, NULL, NULL);
	if (e)
		return e == ERR_BUSY ? err_prefix(e, "The key is changed while no server runs (a few seconds)") : e;
	if (in->key_was_changed) {
		say_done(conf, true);
		return installation_close_after(in, ERR_OK);
	}
	note.at = clock_wall();
	e = each_log(in, look, &note.at);
	if (!e)
		e = node_key_next_make(conf->data, in->key, o->from);
	if (!e)
		e = node_key_note(conf->data, &note);
	/* The one way to do it is the one that a start would go. */
	e = installation_close_after(in, e);
	in = NULL;
	if (!e)
		e = installation_open(&in, conf, NULL, NULL);
	if (!e)
		say_done(conf, false);
	return installation_close_after(in, e);
}

/* --- the list ------------------------------------------------------------------------------------------------------------------ */

struct listing {
	bool json;
	struct json_out out;
	struct buf text;
};

static enum err list_one(void *arg, const struct key_listed *k)
{
	struct listing *l = arg;
	char print[KEY_PRINT], at[CLOCK_TEXT_SIZE] = "", text[KEY_TEXT];
	struct buf shown = BUF_INIT(1 << 16);

	if (k->at)
		clock_text(k->at, at);
	key_print(k->key, print);
	key_text(k->key, text);
	if (l->json) {
		json_out_begin(&l->out, '{');
		json_out_kstr(&l->out, "fingerprint", print);
		json_out_kstr(&l->out, "public_key", text);
		json_out_kstr(&l->out, "since", k->at ? at : NULL);
		json_out_kstr(&l->out, "by", k->at ? k->by : NULL);
		json_out_kstr(&l->out, "reason", k->at ? k->reason : NULL);
		json_out_end(&l->out, '}');
		return ERR_OK;
	}
	utf8_visible(&shown, k->reason, strlen(k->reason), false);
	if (k->at)
		printf("%s  since %s, by %s: %s\n", print, at, k->by, buf_text(&shown));
	else
		printf("%s  the first key\n", print);
	buf_release(&shown);
	return ERR_OK;
}

enum err daemon_key_list(const struct conf *conf, bool json)
{
	struct listing l = { .json = json, .text = BUF_INIT(4 << 20) };
	enum err e;

	l.out.b = &l.text;
	if (json) {
		json_out_begin(&l.out, '{');
		json_out_name(&l.out, "items");
		json_out_begin(&l.out, '[');
	}
	e = node_key_list(conf->data, list_one, &l);
	if (!e && json) {
		json_out_end(&l.out, ']');
		json_out_end(&l.out, '}');
		puts(buf_text(&l.text));
	}
	buf_release(&l.text);
	return e;
}
