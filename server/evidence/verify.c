/*
 * The check of an archive: without a server, a database or a git library, believing nothing that is in it. One pass over the
 * archive (the bytes of files are hashed as they come, the pack goes to a temporary file without a name), then the logs from their
 * first record on. Everything that follows from the records is made again and compared byte by byte.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/sys.h"
#include "base/utf8.h"
#include "evidence/verify.h"
#include "repo/sshsig.h"

#define PAPER_LIMIT ((size_t)1 << 20)
#define FAILURES_TOLD 100
#define EXIT_BAD 6
#define EXIT_ABSENT 2

/* --- what is said --------------------------------------------------------------------------------------------------- */

void verify_failed(struct check *c, const char *name, const char *subject, const char *fmt, ...)
{
	struct buf clean = BUF_INIT(1 << 14);
	char text[2048];
	va_list args;

	if (++c->failures > FAILURES_TOLD)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (c->items) {
		json_t *v = json_pack("{s:s, s:s?, s:s?}", "name", name, "subject", subject, "what", text);

		json_array_append_new(c->items, v ? v : json_pack("{s:s}", "name", name));
		return;
	}
	/* what is in a hostile archive is not for the terminal as it is */
	utf8_visible(&clean, subject, strlen(subject), false);
	printf("FAILED  %-14s %s: ", name, buf_text(&clean));
	buf_reset(&clean);
	utf8_visible(&clean, text, strlen(text), false);
	puts(buf_text(&clean));
	buf_release(&clean);
}

/* --- what is left when all records were read ------------------------------------------------------------------------- */

static enum err head_file(void *arg, struct path path, const struct tree_entry *entry)
{
	struct check *c = arg;
	struct approved *a = state_file(c->state, path, false);

	c->walked++;
	if (!a || !a->stands)
		verify_failed(c, "tree", path.s, "it is in the newest approved tree, and no record says so");
	else if (!blob_id_equal(&a->blob, &entry->id) || entry->mode != (a->exec ? TREE_MODE_EXEC : TREE_MODE_FILE))
		verify_failed(c, "tree", path.s, "the newest approved tree has other bytes, or another mode, than its last record says");
	return ERR_OK;
}

static void check_head(struct check *c)
{
	struct tree_entry entry;
	bool found = false;
	enum err e;

	spine_reset(c->spine, &c->site);
	e = spine_find(c->spine, c->about.path, &entry, &found);
	if (!e && found)
		e = spine_walk(c->spine, c->about.path, &entry, head_file, c);
	if (e)
		verify_failed(c, "tree", c->about.path.s, "the newest approved tree: %s", err_text());
	else if (c->walked != state_standing(c->state))
		verify_failed(c, "tree", c->about.path.s, "the newest approved tree has %llu files there, its records %llu", (unsigned long long)c->walked,
		    (unsigned long long)state_standing(c->state));
}

/* The bytes that came are those that were approved, no fewer and no more. */
static void check_bytes(struct check *c)
{
	struct buf md5 = BUF_INIT((size_t)512 << 20);
	size_t n, at = 0;
	struct version **want = state_versions(c->state, c->about.current, &n);
	char hex[SHA256_HEX];

	for (size_t i = 0; i < n; i++) {
		const struct version *v = want[i];
		const struct byte_file *f;

		hex_of(hex, v->sha256.b, sizeof(v->sha256.b));
		buf_hex(&md5, v->md5.b, sizeof(v->md5.b));
		buf_fmt(&md5, "  files/%s\n", hex);
		while (at < c->n_files && memcmp(c->files[at].sha256.b, v->sha256.b, sizeof(v->sha256.b)) < 0)
			at++;
		f = at < c->n_files && sha256_equal(&c->files[at].sha256, &v->sha256) ? &c->files[at] : NULL;
		if (!f)
			verify_failed(c, "bytes", hex, "the bytes of an approved version are missing");
		else if (f->size != v->size || memcmp(f->md5.b, v->md5.b, sizeof(f->md5.b)) != 0 || !blob_id_equal(&f->blob, &v->blob))
			verify_failed(c, "fingerprint", hex, "its MD5, size or blob is not what its record says");
	}
	for (size_t i = 0, k = 0; i < c->n_files; i++) {
		while (k < n && memcmp(want[k]->sha256.b, c->files[i].sha256.b, sizeof(struct sha256)) < 0)
			k++;
		if (k == n || !sha256_equal(&want[k]->sha256, &c->files[i].sha256)) {
			hex_of(hex, c->files[i].sha256.b, sizeof(struct sha256));
			verify_failed(c, "bytes", hex, "no record approved these bytes there");
		}
	}
	if (md5.len != c->md5_text.len || memcmp(buf_text(&md5), buf_text(&c->md5_text), md5.len) != 0)
		verify_failed(c, "md5", "MD5SUMS", "it is not what the records say");
	buf_release(&md5);
	free(want);
}

static void check_ref(struct check *c, const char *name, const struct buf *text, const struct blob_id *want)
{
	char line[2 * BLOB_ID_SIZE + 2];

	hex_of(line, want->b, BLOB_ID_SIZE);
	memcpy(line + 2 * BLOB_ID_SIZE, "\n", 2);
	if (text->len != strlen(line) || memcmp(buf_text(text), line, text->len) != 0)
		verify_failed(c, "ref", name, "it stands elsewhere than at the newest record");
}

static void check_papers(struct check *c)
{
	struct sha256 versions;

	sha256_stream_end_free(c->made_versions, &versions);
	c->made_versions = NULL;
	if (!sha256_equal(&versions, &c->versions))
		verify_failed(c, "versions", "versions", "it is not what the records say");
	if (c->made_signers.len != c->signers_text.len || memcmp(buf_text(&c->made_signers), buf_text(&c->signers_text), c->made_signers.len) != 0)
		verify_failed(c, "signers", "allowed_signers", "it is not what the records say");
	check_ref(c, "repo.git/HEAD", &c->head_text, &c->about.logs[c->about.n_logs - 1].head);
	if (c->n_refs != c->about.n_logs)
		verify_failed(c, "ref", "repo.git", "a log has no ref");
	for (size_t i = 0; i < c->n_refs; i++)
		check_ref(c, c->about.logs[i].node, &c->refs[i], &c->about.logs[i].head);
	for (size_t i = 0; i < c->pack.n; i++)
		if (!c->pack.entries[i].used) {
			char hex[2 * BLOB_ID_SIZE + 1];

			hex_of(hex, c->pack.entries[i].id.b, BLOB_ID_SIZE);
			verify_failed(c, "object", hex, "nothing leads to this object of the pack");
		}
}

/* --- whom the auditor believes ---------------------------------------------------------------------------------------- */

/* A fingerprint as ssh-keygen -l prints it, a node's name, or a file with a public key; what it says: its node. */
static bool trusted_node(const char *text, char node[SHA256_HEX])
{
	struct buf file = BUF_INIT(1 << 16);
	uint8_t key[32];
	struct sha256 raw;
	size_t n = 0;
	const char *at;
	bool ok = false;

	if (hex_parse(raw.b, sizeof(raw.b), text)) {
		memcpy(node, text, SHA256_HEX);
		return true;
	}
	if (strncmp(text, "SHA256:", 7) == 0) {
		char padded[64];

		snprintf(padded, sizeof(padded), "%.50s=", text + 7);
		if (!base64_parse(raw.b, sizeof(raw.b), &n, padded) || n != sizeof(raw.b))
			return false;
		hex_of(node, raw.b, sizeof(raw.b));
		return true;
	}
	if (!file_read(AT_FDCWD, text, &file) && (at = strstr(buf_text(&file), "ssh-ed25519 ")) && !sshsig_parse_public(key, at)) {
		key_id(key, node);
		ok = true;
	}
	buf_release(&file);
	return ok;
}

/*
 * Did one of those keys sign it? Any of them does for the whole: what is before a record it signed follows from that record, and what is after
 * it from the record that named the next key.
 */
static bool check_trust(struct check *c)
{
	bool vouched = false;

	for (size_t i = 0; i < c->o->n_trusted; i++) {
		char node[SHA256_HEX], id[SHA256_HEX];

		if (!trusted_node(c->o->trusted[i], node))
			continue;
		for (size_t k = 0; k < c->about.n_logs; k++)
			for (size_t n = 0; n < c->keys[k]->n; n++) {
				key_id(c->keys[k]->keys[n].key, id);
				if (strcmp(node, id) == 0) {
					vouched = true;
					c->newest_trusted |= n + 1 == c->keys[k]->n;
				}
			}
	}
	if (c->o->n_trusted && !vouched)
		verify_failed(c, "key", c->o->trusted[0], "the history is signed by another key than the one that you trust");
	return vouched;
}

/* --- the whole ---------------------------------------------------------------------------------------------------------- */

static enum err read_tree(void *arg, const struct blob_id *tree, struct buf *out)
{
	struct check *c = arg;
	return pack_in_read(&c->pack, PACK_TREE, tree, out);
}

static enum err check_all(struct check *c, int fd)
{
	struct buf index = BUF_INIT((size_t)1 << 30);
	enum err e = verify_members(c, fd);

	if (!e && c->pack_size) {
		void *map = mmap(NULL, c->pack_size, PROT_READ, MAP_PRIVATE, c->pack_fd, 0);

		if (map == MAP_FAILED)
			e = err_sys(ERR_FAILED, "cannot map a temporary file");
		else
			c->map = map;
	}
	if (!e)
		e = pack_in_open(&c->pack, c->map, c->pack_size, &index);
	if (!e) {
		char name[ARCHIVE_NAME + 1];

		snprintf(name, sizeof(name), "repo.git/objects/pack/pack-%s.pack", c->pack.name);
		if (strcmp(name, c->pack_name) != 0)
			verify_failed(c, "pack", c->pack_name, "its name is not its checksum");
		if (index.len != c->index_text.len || memcmp(index.p, buf_text(&c->index_text), index.len) != 0)
			verify_failed(c, "index", c->pack_name, "the index is not that of the pack");
		for (size_t i = 0; i < c->about.n_logs; i++)
			verify_log(c, i);
		check_head(c);
		check_bytes(c);
		check_papers(c);
	}
	buf_release(&index);
	return e;
}

/* Which records a key signed. */
static void say_key(const struct check *c, size_t log, size_t n)
{
	const struct keychain *k = c->keys[log];
	const uint64_t from = n == c->first_key[log] ? 1 : k->keys[n].after + 1, to = n + 1 < k->n ? k->keys[n + 1].after : c->log_length[log];
	char print[KEY_PRINT];

	key_print(k->keys[n].key, print);
	if (c->first_key[log] + 1 == k->n)
		printf("key %s\n", print);
	else if (from > to)
		printf("key %s, no record yet\n", print);
	else
		printf("key %s, records %llu to %llu\n", print, (unsigned long long)from, (unsigned long long)to);
}

static void say(const struct check *c, bool vouched)
{
	struct buf path = BUF_INIT(1 << 14);

	utf8_visible(&path, c->about.path.s, c->about.path.len, false);
	printf("site %s, path %s%s\n", c->about.site, buf_text(&path), c->about.current ? " (bytes of what is approved now only)" : "");
	buf_release(&path);
	printf("%llu records, %llu good signatures, %llu things done to files there, bytes of %zu versions (%llu bytes)\n", (unsigned long long)c->records,
	    (unsigned long long)c->signatures, (unsigned long long)c->events, c->n_files, (unsigned long long)c->bytes);
	for (size_t i = 0; i < c->about.n_logs; i++)
		for (size_t n = c->first_key[i]; n < c->keys[i]->n; n++)
			say_key(c, i, n);
	if (!c->o->n_trusted)
		puts("The key came with the archive and was BELIEVED: this shows that the history is whole, not whose it is. Ask somebody of the\n"
		     "site for the key's fingerprint by another way, and give it with --key.");
	else if (vouched && c->newest_trusted)
		puts("The key is the one that you trust.");
	else if (vouched)
		puts("NOTE: the key that you trust was replaced. It vouches for the next one; but whoever has it could have written what follows.\n"
		     "Ask somebody of the site for the newest key's fingerprint by another way, and give that one.");
	if (c->failures > FAILURES_TOLD)
		printf("... and %llu more\n", (unsigned long long)(c->failures - FAILURES_TOLD));
	puts(c->failures ? "NOT GOOD: this archive does not prove what it says." : "good: every commit is signed, and records, trees and bytes agree.");
}

static void say_json(const struct check *c, bool vouched)
{
	json_t *keys = json_array(), *v;
	char print[KEY_PRINT];

	for (size_t i = 0; i < c->about.n_logs; i++)
		for (size_t n = c->first_key[i]; n < c->keys[i]->n; n++)
			json_array_append_new(keys, json_string(key_print(c->keys[i]->keys[n].key, print)));
	v = json_pack("{s:b, s:b, s:b, s:s, s:s%, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:O}", "good", !c->failures, "key_trusted", vouched, "key_newest", c->newest_trusted, "site", c->about.site,
	    "path", c->about.path.s, c->about.path.len, "current", c->about.current, "records", (json_int_t)c->records, "signatures", (json_int_t)c->signatures,
	    "events", (json_int_t)c->events, "versions", (json_int_t)c->n_files, "bytes", (json_int_t)c->bytes, "failures", (json_int_t)c->failures, "keys", keys,
	    "items", c->items);
	if (v) {
		char *text = json_dumps(v, JSON_COMPACT);

		puts(text ? text : "{}");
		free(text);
	}
	json_decref(v);
}

static void check_release(struct check *c)
{
	if (c->map)
		munmap((void *)(uintptr_t)c->map, c->pack_size);
	if (c->pack_fd >= 0)
		sys_close(c->pack_fd);
	if (c->made_versions)
		sha256_stream_end_free(c->made_versions, NULL);
	pack_in_release(&c->pack);
	spine_free(c->spine);
	state_free(c->state);
	for (size_t i = 0; i < EVIDENCE_LOGS; i++) {
		buf_release(&c->refs[i]);
		free(c->keys[i]);
	}
	buf_release(&c->about_text);
	buf_release(&c->signers_text);
	buf_release(&c->md5_text);
	buf_release(&c->index_text);
	buf_release(&c->head_text);
	buf_release(&c->made_signers);
	buf_release(&c->lines);
	buf_release(&c->object);
	free(c->files);
	json_decref(c->items);
	arena_free(c->arena);
	free(c);
}

int evidence_verify(const char *file, const struct evidence_options *o)
{
	struct check *c;
	bool vouched;
	int rc, fd;
	enum err e;

	for (size_t i = 0; i < o->n_trusted; i++) {
		char node[SHA256_HEX];

		if (!trusted_node(o->trusted[i], node)) {
			fprintf(stderr, "drydock: --key %s is neither a file with an ssh-ed25519 public key nor a fingerprint (SHA256:...).\n", o->trusted[i]);
			return 1;
		}
	}
	fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		fprintf(stderr, "drydock: cannot open %s: %s\n", file, strerror(errno));
		return EXIT_ABSENT;
	}
	c = mem_alloc(sizeof(*c));
	c->o = o;
	c->arena = arena_new();
	c->pack_fd = -1;
	c->about = (struct evidence_about){ .site = "", .path = path_root() };
	c->about_text = c->signers_text = c->head_text = c->made_signers = BUF_INIT(PAPER_LIMIT);
	c->md5_text = BUF_INIT((size_t)512 << 20);
	c->index_text = BUF_INIT((size_t)1 << 30);
	c->lines = BUF_INIT((size_t)64 << 20);
	c->object = BUF_INIT(EVIDENCE_BLOB_LIMIT);
	for (size_t i = 0; i < EVIDENCE_LOGS; i++) {
		c->refs[i] = BUF_INIT(256);
		c->keys[i] = mem_alloc(sizeof(*c->keys[i]));
	}
	c->items = o->json ? json_array() : NULL;
	c->made_versions = sha256_stream_new();
	c->state = state_new();
	c->spine = spine_new(read_tree, c);
	e = check_all(c, fd);
	sys_close(fd);
	if (e)
		verify_failed(c, "archive", file, "%s", err_text());
	vouched = !e && check_trust(c);
	if (o->json)
		say_json(c, vouched);
	else
		say(c, vouched);
	rc = c->failures ? EXIT_BAD : 0;
	check_release(c);
	return rc;
}
