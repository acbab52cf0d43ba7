/*
 * repo_fixture: what the tests of repo/ and export/ share: a private directory with a key and a repository, acts that
 * are quick to write, and stock git and ssh-keygen as the judges.
 */
#ifndef DRYDOCK_TESTS_REPO_FIXTURE_H
#define DRYDOCK_TESTS_REPO_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <fcntl.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/spawn.h"
#include "repo/repo.h"

#define FIXTURE_AT (INT64_C(1795000000) * CLOCK_SECOND) /* 2026-11-18 */
#define LOG_REF "refs/drydock/log/test"

#define assert_ok(call)                                                                                                   \
	do {                                                                                                              \
		enum err e_ = (call);                                                                                     \
		if (e_)                                                                                                   \
			fail_msg("%s: %s: %s", #call, err_name(e_), err_text());                                          \
	} while (0)
#define assert_err(code, call)                                                                                            \
	do {                                                                                                              \
		enum err e_ = (call);                                                                                     \
		if (e_ != (code))                                                                                         \
			fail_msg("%s: %s instead of %s: %s", #call, err_name(e_), err_name(code), err_text());            \
	} while (0)

struct fixture {
	char dir[64];
	char repo[80];
	struct node_key *key;
	struct repo *r;
	struct arena *arena;
	uint64_t seq;
	const char *author, *provider; /* of the next act */
	int64_t at;
};

/* Is its signature good, and by that key? */
static inline enum err commit_by(struct repo *r, const struct blob_id *commit, const struct node_key *k)
{
	uint8_t signer[32];
	enum err e = repo_commit_verify(r, commit, signer);

	return e ? e : node_key_is(k, signer) ? ERR_OK : err_set(ERR_DENIED, "it is signed by another key");
}

static inline int fixture_begin(void **state)
{
	struct fixture *f = mem_alloc(sizeof(*f));
	char signers[96];

	/* in memory where that is possible: the tests sync a great deal */
	snprintf(f->dir, sizeof(f->dir), "%s/repo-test-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (!mkdtemp(f->dir))
		return -1;
	snprintf(f->repo, sizeof(f->repo), "%s/site.git", f->dir);
	snprintf(signers, sizeof(signers), "%s/allowed_signers", f->dir);
	f->arena = arena_new();
	f->author = "alice";
	f->provider = "own";
	f->at = FIXTURE_AT;
	if (node_key_create(f->dir) || node_key_load(&f->key, f->dir) ||
	    node_key_write_allowed_signers(f->key, signers, FIXTURE_AT - CLOCK_SECOND) || repo_create(f->repo) ||
	    repo_open(&f->r, f->repo)) {
		print_error("%s\n", err_text());
		return -1;
	}
	*state = f;
	return 0;
}

static inline int fixture_end(void **state)
{
	struct fixture *f = *state;
	enum err e;

	repo_close(f->r);
	node_key_free(f->key);
	arena_free(f->arena);
	e = file_remove_tree(AT_FDCWD, f->dir);
	free(f);
	return e ? -1 : 0;
}

/* Run a program in the fixture's directory; its output (both kinds) in out, which the caller releases. */
static inline int fixture_run_in(struct fixture *f, const char *cwd, const char *const *argv, const char *input, struct buf *out)
{
	char home[80];
	const char *env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", home, "GIT_CONFIG_NOSYSTEM=1", "TZ=UTC", NULL };
	struct spawn s = { .argv = argv, .env = env, .cwd = cwd, .input = input, .input_len = input ? strlen(input) : 0,
		.deadline_us = 120 * CLOCK_SECOND, .out = out };
	struct spawn_result r;

	snprintf(home, sizeof(home), "HOME=%s", f->dir);
	assert_ok(spawn_run(&s, &r));
	return r.status;
}

static inline int fixture_run(struct fixture *f, const char *const *argv, const char *input, struct buf *out)
{
	return fixture_run_in(f, f->dir, argv, input, out);
}

/* git in the repository; it must succeed. Returns its output; the caller frees. */
static inline char *fixture_git(struct fixture *f, ...)
{
	const char *argv[40] = { "git", "-c", "gpg.ssh.allowedSignersFile=allowed_signers", "-c", "core.quotePath=false", "-C",
		f->dir, "--git-dir", f->repo };
	char signers[160];
	struct buf out = BUF_INIT(64 * 1024 * 1024);
	size_t n = 9;
	va_list ap;
	int status;

	snprintf(signers, sizeof(signers), "gpg.ssh.allowedSignersFile=%s/allowed_signers", f->dir);
	argv[2] = signers;
	va_start(ap, f);
	while ((argv[n] = va_arg(ap, const char *)) != NULL)
		n++;
	va_end(ap);
	status = fixture_run(f, argv, NULL, &out);
	if (status != 0)
		fail_msg("git %s: status %d: %s", argv[9], status, buf_text(&out));
	if (!out.p)
		buf_str(&out, "");
	return out.p ? buf_take(&out, NULL) : mem_dup("");
}

static inline void fixture_fsck(struct fixture *f)
{
	char *text = fixture_git(f, "fsck", "--strict", "--full", "--no-dangling", NULL);

	if (strstr(text, "error") || strstr(text, "warning") || strstr(text, "missing"))
		fail_msg("git fsck: %s", text);
	free(text);
}

/* Every commit behind ref is signed well, says stock git. */
static inline void fixture_signatures(struct fixture *f, const char *ref)
{
	char *text = fixture_git(f, "log", "--format=%G?%n", ref, NULL);

	for (const char *s = text; *s; s++)
		if (*s != 'G' && *s != '\n')
			fail_msg("a commit of %s is not well signed: %s", ref, text);
	assert_non_null(strchr(text, 'G'));
	free(text);
}

static inline void fixture_id_hex(const struct blob_id *id, char out[41])
{
	hex_of(out, id->b, BLOB_ID_SIZE);
}

static inline struct path fixture_path(struct fixture *f, const char *text)
{
	struct path p;

	assert_ok(path_parse(&p, text, strlen(text), f->arena));
	return p;
}

/* An act in the making: a pack and its changes. */
struct act {
	struct fixture *f;
	struct repo_pack *pack;
	struct plan plan;
	struct uuid op;
};

static inline void act_begin(struct act *a, struct fixture *f)
{
	*a = (struct act){ .f = f };
	uuid_new(&a->op);
	plan_init(&a->plan);
	assert_ok(repo_pack_begin(f->r, &a->op, &a->pack));
}

static inline struct blob_id act_put(struct act *a, const char *path, const char *bytes, size_t n, bool exec)
{
	struct blob_id id;

	assert_ok(repo_pack_blob(a->pack, bytes, n, &id));
	plan_add(&a->plan, PLAN_ADD, fixture_path(a->f, path), &id, exec);
	return id;
}

static inline struct blob_id act_text(struct act *a, const char *path, const char *text)
{
	return act_put(a, path, text, strlen(text), false);
}

static inline void act_remove(struct act *a, const char *path)
{
	struct blob_id none = { 0 };

	plan_add(&a->plan, PLAN_REMOVE, fixture_path(a->f, path), &none, false);
}

static inline void act_commit(struct act *a, const struct blob_id *head, struct blob_id *commit)
{
	struct fixture *f = a->f;
	struct record record = { .site = "test", .node = node_key_id(f->key), .seq = ++f->seq, .op = a->op, .act = "sign", .at = f->at,
		.actor = { .user = "own:alice", .name = f->author, .provider = f->provider }, .shown = "as-staged", .meaning = "",
		.note = "a note", .fields = json_object(), .files_count = a->plan.n };
	struct repo_commit c = { .record = &record, .parent = *head, .files = "", .rules = "rules\n", .rules_len = 6 };
	struct buf bytes = BUF_INIT(1024 * 1024);

	assert_ok(repo_pack_tree(a->pack, head, &a->plan, &c.site_tree));
	buf_fmt(&bytes, "record %llu\n", (unsigned long long)f->seq);
	c.record_bytes = bytes.p;
	c.record_len = bytes.len;
	sha256_of(&c.record_digest, bytes.p, bytes.len);
	assert_ok(repo_pack_commit(a->pack, &c, f->key, commit));
	buf_release(&bytes);
	json_decref(record.fields);
	f->at += CLOCK_SECOND;
}

/* Commit on head, publish, move the ref and free; head becomes the new commit. */
static inline void act_end(struct act *a, struct blob_id *head)
{
	struct blob_id commit;

	act_commit(a, head, &commit);
	assert_ok(repo_pack_publish(a->pack, false));
	assert_ok(repo_ref_move(a->f->r, LOG_REF, head, &commit));
	repo_pack_free(a->pack);
	plan_release(&a->plan);
	*head = commit;
}

static inline void act_drop(struct act *a)
{
	repo_pack_free(a->pack);
	plan_release(&a->plan);
}

/* What git lists of an approved tree: "mode id path" lines, sorted by path. The caller frees. */
static inline char *fixture_list(struct fixture *f, const struct blob_id *commit)
{
	char hex[41], spec[64];

	fixture_id_hex(commit, hex);
	snprintf(spec, sizeof(spec), "%s:site", hex);
	return fixture_git(f, "ls-tree", "-r", "--format=%(objectmode) %(objectname) /%(path)", spec, NULL);
}

/* Two paths as long as any can be: of the most directories, and of the longest names. */
static inline void fixture_longest_paths(char deep[PATH_LIMIT + 1], char wide[PATH_LIMIT + 1])
{
	for (size_t i = 0; i < PATH_LIMIT; i++)
		deep[i] = i % 2 ? 'd' : '/';
	memset(wide, 'w', PATH_LIMIT);
	for (size_t i = 0; i < PATH_LIMIT; i += PATH_PART_LIMIT + 1)
		wide[i] = '/';
	deep[PATH_LIMIT] = wide[PATH_LIMIT] = '\0';
}

#endif
