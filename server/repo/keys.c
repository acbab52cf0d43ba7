/* The keys of a node in its data directory, and the change from one to the next, which can end at any step and be taken up again. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/sys.h"
#include "repo/keyfile.h"
#include "repo/sshsig.h"

#define NEXT_FILE "node.key.next"
#define NOTE_FILE "key-change"
#define KEYS_FILE "node.keys"
#define SIGNERS_FILE "allowed_signers"
#define SPACES "git,drydock-release,drydock-receipt,drydock-key"
#define KEYS_LIMIT ((size_t)2 << 20) /* bytes of node.keys: a hundred reasons of their full length */

/* --- node.keys: a line of JSON for each change -------------------------------------------------------------------------- */

static enum err open_dir(const char *dir, int *fd)
{
	*fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *fd < 0 ? err_sys(ERR_FAILED, "cannot open %s", dir) : ERR_OK;
}

static enum err read_json(int fd, const char *name, json_t **out)
{
	struct buf text = BUF_INIT(KEYS_LIMIT);
	enum err e = file_read(fd, name, &text);

	*out = NULL;
	if (!e)
		e = json_parse(out, buf_text(&text), text.len);
	buf_release(&text);
	return e;
}

/* ERR_NOT_FOUND: there were no changes. */
static enum err read_changes(int fd, const char *dir, json_t **out)
{
	enum err e = read_json(fd, KEYS_FILE, out);

	if (!e && (!json_is_array(*out) || !json_array_size(*out) || json_array_size(*out) >= KEYS_MOST)) {
		json_decref(*out);
		*out = NULL;
		e = ERR_FAILED;
	}
	if (e && e != ERR_NOT_FOUND)
		e = err_set(ERR_FAILED, "%s/" KEYS_FILE " is damaged: bring it back from a backup", dir);
	return e;
}

/* One entry: {"by","reason","signature","statement"}. */
static enum err follow_change(struct keychain *c, const json_t *entry, json_t *statements, struct arena *a)
{
	bool bad = false;
	const char *text = json_get_str(entry, "statement", &bad), *signature = json_get_str(entry, "signature", &bad);
	struct buf armored = BUF_INIT(SSHSIG_ARMORED_LIMIT);
	struct key_change x;
	enum err e = bad || !text || !signature ? err_set(ERR_INPUT, "an entry lacks its statement") : key_change_decode(&x, text, strlen(text), a);

	if (!e)
		e = key_armor(&armored, x.from, signature);
	if (!e)
		e = keychain_follow(c, &x, text, strlen(text), armored.p, armored.len, false);
	if (!e) {
		json_array_append_new(statements, json_string(text));
		json_array_append_new(statements, json_string(signature));
	}
	buf_release(&armored);
	return e;
}

static enum err load_changes(int fd, const char *dir, struct keychain **chain, json_t **statements)
{
	json_t *list, *entry;
	struct arena *a;
	size_t i;
	enum err e = read_changes(fd, dir, &list);

	*chain = NULL;
	*statements = NULL;
	if (e)
		return e == ERR_NOT_FOUND ? ERR_OK : e;
	a = arena_new();
	*chain = mem_alloc(sizeof(**chain));
	*statements = json_array();
	json_array_foreach(list, i, entry) {
		e = follow_change(*chain, entry, *statements, a);
		if (e) {
			e = err_prefix(ERR_FAILED, "%s/" KEYS_FILE, dir);
			break;
		}
	}
	json_decref(list);
	arena_free(a);
	return e;
}

/* --- loading ------------------------------------------------------------------------------------------------------------ */

static bool chain_ends(const struct keychain *chain, const struct node_key *k)
{
	return chain && k && memcmp(keychain_last(chain)->key, k->public_key, 32) == 0;
}

static enum err load_next(struct node_key **out, int fd, const char *dir)
{
	char *file = mem_printf("%s/" NEXT_FILE, dir);
	enum err e = key_file_load(out, fd, NEXT_FILE, file);

	free(file);
	return e;
}

static enum err load_one(struct node_key **out, int fd, const char *dir, struct keychain *chain)
{
	char *file = mem_printf("%s/" KEY_FILE, dir), print[KEY_PRINT], last[KEY_PRINT];
	struct node_key *next = NULL;
	enum err e = ERR_OK;

	/* Without its note a next key is a leftover. */
	if (file_exists(fd, NOTE_FILE) && file_exists(fd, NEXT_FILE))
		e = load_next(&next, fd, dir);
	if (!e && chain_ends(chain, next)) {
		*out = next; /* the old one has nothing to sign any more, and may be gone */
		next = NULL;
	} else if (!e) {
		e = key_file_load(out, fd, KEY_FILE, file);
	}
	if (!e && chain && !chain_ends(chain, *out))
		e = err_set(ERR_FAILED, "%s is the key %s, and the node's key was changed to %s: put the newest node.key here, from the newest backup", file,
		    key_print((*out)->public_key, print), key_print(keychain_last(chain)->key, last));
	if (e) {
		node_key_free(*out);
		*out = NULL;
	} else {
		(*out)->next = next;
		next = NULL;
	}
	node_key_free(next);
	free(file);
	return e;
}

enum err node_key_load(struct node_key **out, const char *dir)
{
	struct keychain *chain = NULL;
	json_t *statements = NULL;
	int fd;
	enum err e = open_dir(dir, &fd);

	*out = NULL;
	if (e)
		return e;
	e = load_changes(fd, dir, &chain, &statements);
	if (!e)
		e = load_one(out, fd, dir, chain);
	if (!e && chain) {
		memcpy((*out)->id, chain->node, sizeof((*out)->id));
		(*out)->chain = chain;
		(*out)->statements = statements;
		chain = NULL;
		statements = NULL;
	}
	if (!e && (*out)->next)
		memcpy((*out)->next->id, (*out)->id, sizeof((*out)->id));
	free(chain);
	json_decref(statements);
	sys_close(fd);
	return e;
}

bool node_key_is(const struct node_key *k, const uint8_t public_key[32])
{
	return memcmp(k->public_key, public_key, 32) == 0 || (k->next && memcmp(k->next->public_key, public_key, 32) == 0);
}

const struct node_key *node_key_next(const struct node_key *k)
{
	return k->next;
}

const uint8_t *node_key_bytes(const struct node_key *k)
{
	return k->public_key;
}

const struct keychain *node_key_chain(const struct node_key *k)
{
	return k->chain;
}

struct json_t *node_key_statements(const struct node_key *k)
{
	return k->statements;
}

/* --- a change begins ------------------------------------------------------------------------------------------------------ */

static enum err copy_next(int fd, const char *from)
{
	struct buf text = BUF_INIT(65536);
	enum err e = file_read(AT_FDCWD, from, &text);

	if (!e)
		e = file_write(fd, NEXT_FILE, text.p, text.len, 0600);
	if (text.p)
		explicit_bzero(text.p, text.cap);
	buf_release(&text);
	return e;
}

enum err node_key_next_make(const char *dir, const struct node_key *k, const char *from)
{
	struct node_key *next = NULL;
	char print[KEY_PRINT];
	int fd;
	enum err e = open_dir(dir, &fd);

	if (e)
		return e;
	if (from) {
		e = key_file_load(&next, AT_FDCWD, from, from);
		if (!e && (node_key_is(k, next->public_key) || (k->chain && keychain_has(k->chain, next->public_key))))
			e = err_set(ERR_STALE, "%s is the key %s, which is, or was, the node's key: a new one is wanted", from, key_print(next->public_key, print));
		node_key_free(next);
		if (!e)
			e = copy_next(fd, from);
	} else {
		e = key_file_create(fd, NEXT_FILE, NULL);
	}
	FAILPOINT_OR(e, key_made);
	sys_close(fd);
	return e;
}

enum err node_key_note(const char *dir, const struct key_note *note)
{
	struct buf text = BUF_INIT(65536);
	char at[CLOCK_TEXT_SIZE];
	json_t *v;
	int fd;
	enum err e = open_dir(dir, &fd);

	if (e)
		return e;
	clock_text(note->at, at);
	v = json_pack("{s:s, s:s, s:s, s:b}", "at", at, "by", note->by, "reason", note->reason, "keep", note->keep);
	e = v ? json_canonical(&text, v) : err_set(ERR_INPUT, "the reason is not valid UTF-8");
	json_decref(v);
	if (!e)
		e = file_write(fd, NOTE_FILE, text.p, text.len, 0600);
	FAILPOINT_OR(e, key_noted);
	buf_release(&text);
	sys_close(fd);
	return e;
}

bool node_key_changing(const char *dir)
{
	char *file = mem_printf("%s/" NOTE_FILE, dir);
	const bool is = file_exists(AT_FDCWD, file);

	free(file);
	return is;
}

enum err node_key_note_read(const char *dir, struct key_note *out, struct arena *a)
{
	bool bad = false;
	const char *at, *by, *reason;
	json_t *v = NULL;
	int fd;
	enum err e = open_dir(dir, &fd);

	if (e)
		return e;
	e = read_json(fd, NOTE_FILE, &v);
	if (e == ERR_NOT_FOUND) {
		if (file_exists(fd, NEXT_FILE) && sys_unlink(fd, NEXT_FILE, 0))
			e = err_sys(ERR_FAILED, "%s/" NEXT_FILE, dir);
		sys_close(fd);
		return e;
	}
	at = json_get_str(v, "at", &bad);
	by = json_get_str(v, "by", &bad);
	reason = json_get_str(v, "reason", &bad);
	out->keep = json_get_bool(v, "keep", false, &bad);
	if (e || bad || !at || !by || !reason || clock_parse(&out->at, at))
		e = err_set(ERR_FAILED, "%s/" NOTE_FILE " is damaged", dir);
	if (!e) {
		out->by = arena_dup(a, by);
		out->reason = arena_dup(a, reason);
	}
	json_decref(v);
	sys_close(fd);
	return e;
}

/* --- and ends ------------------------------------------------------------------------------------------------------------- */

static enum err list_change(int fd, const char *dir, const char *statement, const struct buf *armored, const struct key_note *note)
{
	struct buf text = BUF_INIT(KEYS_LIMIT);
	uint8_t raw[SSHSIG_RAW_SIZE];
	char signature[128];
	json_t *list = NULL;
	enum err e = read_changes(fd, dir, &list);

	if (e == ERR_NOT_FOUND) {
		list = json_array();
		e = ERR_OK;
	}
	if (!e)
		e = sshsig_raw(raw, armored->p, armored->len);
	if (!e) {
		base64_of(signature, raw, sizeof(raw));
		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s}", "by", note->by, "reason", note->reason, "signature", signature, "statement", statement));
		e = json_canonical(&text, list);
	}
	if (!e)
		e = file_write(fd, KEYS_FILE, text.p, text.len, 0600);
	json_decref(list);
	buf_release(&text);
	return e;
}

/* What was in the file is written over where it lies. (A disk that writes elsewhere, or a copy, is out of reach: doc/manual.md.) */
static enum err wipe(int fd, const char *name)
{
	static const char zero[4096];
	struct stat st;
	int file = sys_open(fd, name, O_WRONLY | O_NOFOLLOW, 0);
	enum err e = ERR_OK;

	if (file < 0)
		return errno == ENOENT ? ERR_OK : err_sys(ERR_FAILED, "the old %s", name);
	if (fstat(file, &st) || (st.st_size > 0 && sys_pwrite_all(file, zero, st.st_size < (off_t)sizeof(zero) ? (size_t)st.st_size : sizeof(zero), 0)) || sys_fsync(file))
		e = err_sys(ERR_FAILED, "the old %s cannot be overwritten", name);
	(void)sys_close(file);
	return e;
}

/* k: the old key. */
static enum err put_away(int fd, const struct node_key *k, bool keep)
{
	char id[SHA256_HEX], name[64];

	if (!keep)
		return wipe(fd, KEY_FILE);
	key_id(k->public_key, id);
	snprintf(name, sizeof(name), KEY_FILE ".%.12s", id);
	if (file_exists(fd, KEY_FILE) && sys_rename(fd, KEY_FILE, fd, name))
		return err_sys(ERR_FAILED, "%s", name);
	return ERR_OK;
}

static enum err write_pub(int fd, const struct node_key *k)
{
	char id[SHA256_HEX], *text;
	enum err e;

	key_id(k->public_key, id);
	text = mem_printf("%s drydock-%.12s\n", k->text, id);
	e = file_write(fd, PUB_FILE, text, strlen(text), 0644);
	free(text);
	return e;
}

static enum err finish(int fd, const char *dir, int64_t first)
{
	char *signers = mem_printf("%s/" SIGNERS_FILE, dir);
	struct node_key *now = NULL;
	enum err e = node_key_load(&now, dir);

	if (!e)
		e = write_pub(fd, now);
	if (!e)
		e = node_key_write_allowed_signers(now, signers, first);
	FAILPOINT_OR(e, key_signers);
	if (!e && (sys_unlink(fd, NOTE_FILE, 0) || sys_fsync(fd)))
		e = err_sys(ERR_FAILED, "%s/" NOTE_FILE, dir);
	node_key_free(now);
	free(signers);
	return e;
}

enum err node_key_switch(const char *dir, const struct node_key *k, const char *statement, size_t n, const struct buf *armored, const struct key_note *note, int64_t first)
{
	const struct node_key *old = k->next ? k : NULL; /* NULL: the list has the change already, and k is the new one */
	char *text = mem_dupn(statement, n);
	int fd;
	enum err e = open_dir(dir, &fd);

	if (e) {
		free(text);
		return e;
	}
	if (old)
		e = list_change(fd, dir, text, armored, note);
	FAILPOINT_OR(e, key_listed);
	if (!e && file_exists(fd, NEXT_FILE)) {
		struct node_key *kept = NULL;

		/* One that is wiped, or renamed, already, is no key any more. */
		if (!old && note->keep && file_exists(fd, KEY_FILE))
			e = key_file_load(&kept, fd, KEY_FILE, KEY_FILE);
		if (!e)
			e = put_away(fd, old ? old : kept ? kept : k, note->keep);
		node_key_free(kept);
		FAILPOINT_OR(e, key_wiped);
		if (!e && (sys_rename(fd, NEXT_FILE, fd, KEY_FILE) || sys_fsync(fd)))
			e = err_sys(ERR_FAILED, "%s/" KEY_FILE, dir);
		FAILPOINT_OR(e, key_switched);
	}
	if (!e)
		e = finish(fd, dir, first);
	free(text);
	sys_close(fd);
	return e;
}

/* --- for people, and for git ---------------------------------------------------------------------------------------------- */

enum err node_key_write_allowed_signers(const struct node_key *k, const char *file, int64_t first)
{
	struct buf text = BUF_INIT(65536);
	char key[KEY_TEXT];
	enum err e;

	if (!k->chain)
		key_signer_line(SPACES, k->text, first, 0, &text);
	for (size_t i = 0; k->chain && i < k->chain->n; i++) {
		const struct key_time *t = &k->chain->keys[i];

		key_text(t->key, key);
		key_signer_line(SPACES, key, i ? t->at : first, i + 1 < k->chain->n ? t[1].at : 0, &text);
	}
	e = buf_check(&text);
	if (!e)
		e = file_write(AT_FDCWD, file, text.p, text.len, 0644);
	buf_release(&text);
	return e;
}

enum err node_key_list(const char *dir, enum err (*fn)(void *arg, const struct key_listed *k), void *arg)
{
	struct buf pub = BUF_INIT(65536);
	struct keychain *chain = NULL;
	struct key_listed one = { .by = "", .reason = "" };
	json_t *statements = NULL, *list = NULL;
	int fd;
	enum err e = open_dir(dir, &fd);

	if (e)
		return e;
	e = load_changes(fd, dir, &chain, &statements);
	if (!e && chain)
		e = read_changes(fd, dir, &list);
	if (!e && !chain) {
		e = file_read(fd, PUB_FILE, &pub);
		if (!e)
			e = sshsig_parse_public(one.key, buf_text(&pub));
		if (!e)
			e = fn(arg, &one);
	}
	for (size_t i = 0; !e && chain && i < chain->n; i++) {
		const json_t *entry = i ? json_array_get(list, i - 1) : NULL;
		const char *by = json_string_value(json_object_get(entry, "by")), *reason = json_string_value(json_object_get(entry, "reason"));

		memcpy(one.key, chain->keys[i].key, 32);
		one.at = chain->keys[i].at;
		one.by = by ? by : "";
		one.reason = reason ? reason : "";
		e = fn(arg, &one);
	}
	json_decref(list);
	json_decref(statements);
	free(chain);
	buf_release(&pub);
	sys_close(fd);
	return e;
}
