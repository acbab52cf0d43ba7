#include "repo_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <pthread.h>
#include <sys/stat.h>

#include "base/failpoint.h"
#include "base/log.h"
#include "base/pool.h"
#include "base/sys.h"
#include "repo/internal.h"

static unsigned count_files(const char *dir, const char *sub)
{
	char path[256];
	unsigned n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "%s/%s", dir, sub);
	d = opendir(path);
	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d)) != NULL;)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

static void first_act(void **state)
{
	struct fixture *f = *state;
	struct blob_id head = { 0 }, id, parent, found;
	struct buf text = BUF_INIT(1024);
	struct act a;
	bool exec = true;
	char *out;

	act_begin(&a, f);
	id = act_text(&a, "/index.html", "<p>hello</p>\n");
	act_put(&a, "/cgi/run", "#!/bin/sh\n", 10, true);
	act_end(&a, &head);
	fixture_fsck(f);
	fixture_signatures(f, LOG_REF);
	assert_ok(commit_by(f->r, &head, f->key));
	assert_ok(repo_find(f->r, &head, fixture_path(f, "/index.html"), &found, &exec));
	assert_true(blob_id_equal(&id, &found));
	assert_false(exec);
	assert_ok(repo_find(f->r, &head, fixture_path(f, "/cgi/run"), &found, &exec));
	assert_true(exec);
	assert_err(ERR_NOT_FOUND, repo_find(f->r, &head, fixture_path(f, "/cgi"), &found, &exec));
	assert_err(ERR_NOT_FOUND, repo_find(f->r, &head, fixture_path(f, "/index.html/x"), &found, &exec));
	assert_ok(repo_blob_read(f->r, &id, &text));
	assert_string_equal(text.p, "<p>hello</p>\n");
	out = fixture_git(f, "show", LOG_REF ":record", NULL);
	assert_string_equal(out, "record 1\n");
	free(out);
	assert_ok(repo_commit_parent(f->r, &head, &parent));
	assert_true(blob_id_zero(&parent));
	out = fixture_git(f, "log", "-1", "--format=%an|%ae|%cn|%ce|%at|%ct|%s", LOG_REF, NULL);
	assert_non_null(strstr(out, "alice|alice@own.invalid|DryDock node "));
	assert_non_null(strstr(out, "|node@drydock.invalid|1795000000|1795000000|sign 2 files: a note"));
	free(out);
	out = fixture_git(f, "log", "-1", "--format=%(trailers:key=Seq,valueonly)%(trailers:key=Op)", LOG_REF, NULL);
	assert_memory_equal(out, "1\n", 2);
	assert_non_null(strstr(out, "Op: "));
	free(out);
	out = fixture_git(f, "ls-tree", "--name-only", LOG_REF, NULL);
	assert_string_equal(out, "files\nrecord\nrules\nsite\n");
	free(out);
	/* nobody else's signature */
	{
		struct node_key *k;
		char dir[96];
		snprintf(dir, sizeof(dir), "%s/other", f->dir);
		assert_ok(file_mkdirs(dir, 0700));
		assert_ok(node_key_create(dir));
		assert_ok(node_key_load(&k, dir));
		assert_err(ERR_DENIED, commit_by(f->r, &head, k));
		node_key_free(k);
	}
	buf_release(&text);
}

static void invisible_until_published(void **state)
{
	struct fixture *f = *state;
	struct blob_id head = { 0 }, id, commit;
	struct repo *other;
	struct act a;

	assert_ok(repo_open(&other, f->repo));
	act_begin(&a, f);
	id = act_text(&a, "/a", "one");
	act_commit(&a, &head, &commit);
	assert_false(repo_has(other, &id));
	assert_false(repo_has(f->r, &commit));
	assert_int_equal(count_files(f->repo, "objects/pack"), 0);
	assert_ok(repo_pack_publish(a.pack, false));
	assert_int_equal(count_files(f->repo, "objects/pack"), 2);
	assert_int_equal(count_files(f->repo, "drydock-tmp"), 0);
	assert_true(repo_has(other, &id));
	assert_true(repo_has(f->r, &commit));
	act_drop(&a);
	assert_int_equal(count_files(f->repo, "objects/pack"), 2);
	/* the same act again makes no object */
	act_begin(&a, f);
	a.op = (struct uuid){ 0 };
	f->seq = 0;
	act_text(&a, "/a", "one");
	assert_ok(repo_pack_publish(a.pack, false));
	act_drop(&a);
	assert_int_equal(count_files(f->repo, "objects/pack"), 2);
	repo_close(other);
}

static void dropped_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	struct repo_stream *s;
	struct blob_id head = { 0 }, id;
	char *big = mem_alloc(4 * 1024 * 1024);
	struct act a;

	act_begin(&a, f);
	random_bytes(big, 4 * 1024 * 1024);
	act_put(&a, "/big", big, 4 * 1024 * 1024, false); /* past what is kept in memory */
	assert_int_not_equal(count_files(f->repo, "drydock-tmp"), 0);
	assert_ok(repo_stream_begin(a.pack, 3, &s));
	assert_ok(repo_stream_add(s, "abc", 3));
	assert_ok(repo_stream_end(s, &id));
	act_commit(&a, &head, &id);
	act_drop(&a);
	assert_int_equal(count_files(f->repo, "drydock-tmp"), 0);
	assert_int_equal(count_files(f->repo, "objects/pack"), 0);
	assert_int_equal(count_files(f->repo, "objects"), 2);

	/* as after a crash */
	act_begin(&a, f);
	act_put(&a, "/big", big, 4 * 1024 * 1024, false);
	assert_int_not_equal(count_files(f->repo, "drydock-tmp"), 0);
	assert_ok(repo_clean_temporary(f->r));
	assert_int_equal(count_files(f->repo, "drydock-tmp"), 0);
	act_drop(&a);
	free(big);
}

static void published_twice(void **state)
{
	struct fixture *f = *state;
	struct blob_id head = { 0 }, first, second;
	struct act a;

	act_begin(&a, f);
	act_text(&a, "/a", "one");
	act_commit(&a, &head, &first);
	assert_ok(repo_pack_publish(a.pack, false));
	/* the transaction runs again, on another head */
	act_commit(&a, &first, &second);
	assert_ok(repo_pack_publish(a.pack, true));
	assert_ok(repo_ref_move(f->r, LOG_REF, NULL, &second));
	assert_false(blob_id_equal(&first, &second));
	act_drop(&a);
	fixture_fsck(f);
	fixture_signatures(f, LOG_REF);
	assert_int_equal(count_files(f->repo, "objects/pack"), 4);
}

static void refs_swap(void **state)
{
	struct fixture *f = *state;
	struct blob_id head = { 0 }, one, two, got;
	struct act a;
	char file[160];

	assert_err(ERR_NOT_FOUND, repo_ref_get(f->r, LOG_REF, &got));
	act_begin(&a, f);
	act_text(&a, "/a", "1");
	act_commit(&a, &head, &one);
	act_text(&a, "/a", "2");
	act_commit(&a, &one, &two);
	assert_ok(repo_pack_publish(a.pack, false));
	act_drop(&a);
	assert_err(ERR_STALE, repo_ref_move(f->r, LOG_REF, &two, &one));
	assert_ok(repo_ref_move(f->r, LOG_REF, &head, &one));
	assert_err(ERR_STALE, repo_ref_move(f->r, LOG_REF, &head, &one));
	assert_err(ERR_STALE, repo_ref_move(f->r, LOG_REF, NULL, &two));
	assert_err(ERR_STALE, repo_ref_move(f->r, LOG_REF, &two, &one));
	assert_ok(repo_ref_move(f->r, LOG_REF, &one, &two));
	assert_ok(repo_ref_get(f->r, LOG_REF, &got));
	assert_true(blob_id_equal(&got, &two));
	/* packed by stock git */
	free(fixture_git(f, "pack-refs", "--all", NULL));
	assert_ok(repo_ref_get(f->r, LOG_REF, &got));
	assert_true(blob_id_equal(&got, &two));
	assert_err(ERR_STALE, repo_ref_move(f->r, LOG_REF, &one, &two));
	assert_ok(repo_ref_move(f->r, LOG_REF, &two, &one));
	/* torn by a power failure: none, until it is written from what the database says */
	snprintf(file, sizeof(file), "%s/%s", f->repo, LOG_REF);
	static const char *const torn[] = { "", "\n", "0123", "0000000000000000000000000000000000000000000000000000" };
	for (size_t i = 0; i < sizeof(torn) / sizeof(torn[0]); i++) {
		assert_ok(file_write(AT_FDCWD, file, torn[i], strlen(torn[i]), 0600));
		if (i % 2) {
			assert_ok(repo_ref_set(f->r, LOG_REF, &two));
		} else {
			assert_ok(repo_ref_get(f->r, LOG_REF, &got)); /* what was packed */
			assert_true(blob_id_equal(&got, &two));
			assert_ok(file_write(AT_FDCWD, file, torn[i], strlen(torn[i]), 0600));
			assert_ok(repo_ref_move(f->r, LOG_REF, &got, &one));
			assert_ok(repo_ref_move(f->r, LOG_REF, &one, &two));
		}
		assert_ok(repo_ref_get(f->r, LOG_REF, &got));
		assert_true(blob_id_equal(&got, &two));
	}
	assert_ok(repo_ref_set(f->r, LOG_REF, &one));
	assert_ok(repo_ref_get(f->r, LOG_REF, &got));
	assert_true(blob_id_equal(&got, &one));
	snprintf(file, sizeof(file), "%s/refs/heads/new", f->repo);
	for (size_t i = 0; i < sizeof(torn) / sizeof(torn[0]); i++) {
		assert_ok(file_write(AT_FDCWD, file, torn[i], strlen(torn[i]), 0600));
		if (i % 2)
			assert_err(ERR_NOT_FOUND, repo_ref_get(f->r, "refs/heads/new", &got));
		assert_ok(repo_ref_move(f->r, "refs/heads/new", NULL, &two));
		assert_int_equal(unlink(file), 0);
	}
	fixture_fsck(f);
}

static const char *const hostile[] = {
	"",
	" ",
	"<>",
	"a <b@c> 1 +0000",
	"new\nline",
	"alice\ngpgsig -----BEGIN SSH SIGNATURE-----",
	"alice\r\ncommitter x <x@x> 0 +0000",
	"\x01\x02\x7f",
	"bad \xff\xfe utf-8",
	"quote \" and ' and \\",
	"J\xc3\xb6rg \xe2\x80\xae" "evil",
	"c1 \xc2\x85 next line",
	"trailing dots...",
	"very very very very very very very very very very very very very very very very very very very very very very very very "
	"very very very very very very very very very very very very very very very very very very very very long",
	"@",
	"a@b,c;d:e(f)[g]",
};

static void hostile_names(void **state)
{
	struct fixture *f = *state;
	struct blob_id head = { 0 };
	char *out;

	for (size_t i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
		struct act a;
		f->author = hostile[i];
		f->provider = i % 2 ? "unix" : hostile[i];
		act_begin(&a, f);
		act_text(&a, "/a", hostile[i]);
		act_end(&a, &head);
		assert_ok(commit_by(f->r, &head, f->key));
	}
	fixture_fsck(f);
	fixture_signatures(f, LOG_REF);
	out = fixture_git(f, "log", "--format=%an|%ae|%cn", LOG_REF, NULL);
	for (char *line = out; *line; line = strchr(line, '\n') + 1) {
		size_t n = strcspn(line, "|");
		assert_true(n > 0);
		assert_non_null(strstr(line, "|DryDock node "));
	}
	free(out);
}

static void release_and_tag(void **state)
{
	struct fixture *f = *state;
	struct blob_id head = { 0 }, tree, main_head = { 0 }, tag;
	struct act a;
	char *out;

	for (int n = 1; n <= 3; n++) {
		char name[32], ref[64], text[32];
		struct blob_id commit;
		snprintf(text, sizeof(text), "version %d", n);
		act_begin(&a, f);
		act_text(&a, "/a/b", text);
		act_end(&a, &head);
		act_begin(&a, f);
		assert_ok(repo_site_tree(f->r, &head, &tree));
		assert_ok(repo_pack_release_commit(a.pack, &tree, &main_head, "Release", f->at, f->key, &commit));
		snprintf(name, sizeof(name), "release/%d", n);
		assert_ok(repo_pack_tag(a.pack, name, &commit, "Release\n\nwith a text", f->at, f->key, NULL, &tag));
		assert_err(ERR_INPUT, repo_pack_tag(a.pack, "re lease\nx", &commit, "", f->at, f->key, NULL, &tree));
		assert_ok(repo_pack_publish(a.pack, false));
		act_drop(&a);
		assert_ok(repo_ref_move(f->r, "refs/heads/main", &main_head, &commit));
		snprintf(ref, sizeof(ref), "refs/tags/%s", name);
		assert_ok(repo_ref_move(f->r, ref, NULL, &tag));
		assert_ok(commit_by(f->r, &commit, f->key));
		main_head = commit;
		out = fixture_git(f, "verify-tag", name, NULL);
		assert_non_null(strstr(out, "Good \"git\" signature"));
		free(out);
	}
	fixture_fsck(f);
	fixture_signatures(f, "refs/heads/main");
	out = fixture_git(f, "log", "--show-signature", "main", NULL);
	assert_non_null(strstr(out, "Good \"git\" signature for node@drydock.invalid"));
	free(out);
	/* stock git can take it, whole, and repack it under an open handle */
	{
		const char *argv[] = { "git", "clone", "-q", f->repo, "clone", NULL };
		const char *show[] = { "cat", "clone/a/b", NULL };
		struct buf b = BUF_INIT(4096);
		assert_int_equal(fixture_run(f, argv, NULL, &b), 0);
		buf_reset(&b);
		assert_int_equal(fixture_run(f, show, NULL, &b), 0);
		assert_string_equal(b.p, "version 3");
		buf_release(&b);
	}
	free(fixture_git(f, "-c", "repack.writeBitmaps=false", "repack", "-q", "-a", "-d", NULL));
	assert_int_equal(count_files(f->repo, "objects/pack"), 2);
	act_begin(&a, f);
	act_text(&a, "/a/c", "after the repack");
	act_end(&a, &head);
	fixture_fsck(f);
}

/* --- threads and sizes -------------------------------------------------------------------------------------------- */

#define MANY 3000

struct many {
	struct repo_pack *pack;
	struct blob_id ids[MANY];
	int failed;
};

static size_t many_text(size_t i, char *text)
{
	/* every tenth is the same as another, so that threads meet on one object */
	size_t k = i % 10 == 9 ? 0 : i;
	size_t n = 100 + (k * 7919) % 3000;
	for (size_t j = 0; j < n; j++)
		text[j] = (char)('a' + (k * 31 + j * (1 + k % 13)) % 26);
	n += (size_t)snprintf(text + n, 32, "%zu", k);
	return n;
}

static void add_one(void *arg, size_t i)
{
	struct many *m = arg;
	char text[4096];
	size_t n = many_text(i, text);

	if (repo_pack_blob(m->pack, text, n, &m->ids[i]) != ERR_OK)
		__atomic_store_n(&m->failed, 1, __ATOMIC_RELAXED);
}

static void two_threads(void **state)
{
	struct fixture *f = *state;
	struct many *m = mem_alloc(sizeof(*m));
	struct blob_id head = { 0 };
	struct act a;

	act_begin(&a, f);
	m->pack = a.pack;
	pool_each(4, MANY, add_one, m);
	assert_int_equal(m->failed, 0);
	for (size_t i = 0; i < MANY; i++) {
		char name[64];
		snprintf(name, sizeof(name), "/d%zu/f%zu", i % 50, i);
		plan_add(&a.plan, PLAN_ADD, fixture_path(f, name), &m->ids[i], false);
	}
	act_end(&a, &head);
	fixture_fsck(f);
	for (size_t i = 0; i < MANY; i += 97) {
		char text[4096];
		size_t n = many_text(i, text);
		struct buf b = BUF_INIT(4096);
		assert_ok(repo_blob_read(f->r, &m->ids[i], &b));
		assert_int_equal(b.len, n);
		assert_memory_equal(b.p, text, n);
		buf_release(&b);
	}
	free(m);
}

static void streamed(void **state)
{
	struct fixture *f = *state;
	const size_t size = 20 * 1024 * 1024 + 12345, piece = 77777;
	char *big = mem_alloc(size), *back;
	struct blob_id head = { 0 }, id, again;
	struct repo_stream *s;
	struct buf b = BUF_INIT(1024);
	struct act a;
	char file[96], *out;
	uint64_t got;
	int fd;

	random_bytes(big, size / 2);
	act_begin(&a, f);
	assert_err(ERR_TOO_BIG, repo_pack_blob(a.pack, big, size, &id));
	assert_ok(repo_stream_begin(a.pack, size, &s));
	for (size_t at = 0; at < size; at += piece)
		assert_ok(repo_stream_add(s, big + at, size - at < piece ? size - at : piece));
	assert_err(ERR_STALE, repo_stream_add(s, "x", 1));
	repo_stream_cancel(s);
	assert_ok(repo_stream_begin(a.pack, size, &s));
	assert_ok(repo_stream_add(s, big, size - 1));
	assert_err(ERR_STALE, repo_stream_end(s, &id));
	for (int round = 0; round < 2; round++) {
		assert_ok(repo_stream_begin(a.pack, size, &s));
		for (size_t at = 0; at < size; at += piece)
			assert_ok(repo_stream_add(s, big + at, size - at < piece ? size - at : piece));
		assert_ok(repo_stream_end(s, round ? &again : &id));
	}
	assert_true(blob_id_equal(&id, &again));
	plan_add(&a.plan, PLAN_ADD, fixture_path(f, "/big.bin"), &id, false);
	assert_false(repo_has(f->r, &id));
	act_end(&a, &head);
	assert_true(repo_has(f->r, &id));
	assert_int_equal(count_files(f->repo, "drydock-tmp"), 0);
	fixture_fsck(f);
	assert_ok(repo_blob_size(f->r, &id, &got));
	assert_int_equal(got, size);
	assert_err(ERR_TOO_BIG, repo_blob_read(f->r, &id, &b));
	snprintf(file, sizeof(file), "%s/copy", f->dir);
	for (int round = 0; round < 2; round++) {
		fd = open(file, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		assert_true(fd >= 0);
		assert_ok(repo_blob_copy(f->r, &id, fd));
		back = mem_alloc(size);
		assert_int_equal(pread(fd, back, size, 0), size);
		assert_memory_equal(back, big, size);
		assert_int_equal(lseek(fd, 0, SEEK_END), size);
		free(back);
		close(fd);
		/* and when stock git has packed it after all */
		out = fixture_git(f, "repack", "-q", "-a", "-d", NULL);
		free(out);
		repo_refresh(f->r);
	}
	buf_release(&b);
	free(big);
}

/* A loose object that is not what its name says: zlib is content with it, the id is not. */
static void damaged_stream(void **state)
{
	struct fixture *f = *state;
	const size_t size = 17 * 1024 * 1024;
	char *big = mem_alloc(size), hex[2][41], loose[2][200], file[96];
	struct blob_id ids[2];
	struct act a;
	int fd;

	act_begin(&a, f);
	for (int i = 0; i < 2; i++) {
		struct repo_stream *s;
		big[size / 2] = (char)i;
		assert_ok(repo_stream_begin(a.pack, size, &s));
		assert_ok(repo_stream_add(s, big, size));
		assert_ok(repo_stream_end(s, &ids[i]));
		fixture_id_hex(&ids[i], hex[i]);
		snprintf(loose[i], sizeof(loose[i]), "%s/objects/%.2s/%s", f->repo, hex[i], hex[i] + 2);
	}
	assert_ok(repo_pack_publish(a.pack, true));
	act_drop(&a);
	assert_int_equal(rename(loose[1], loose[0]), 0);
	snprintf(file, sizeof(file), "%s/copy", f->dir);
	fd = open(file, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_err(ERR_FAILED, repo_blob_copy(f->r, &ids[0], fd));
	assert_non_null(strstr(err_text(), "damaged"));
	close(fd);
	free(big);
}

static void empty_files_and_trees(void **state)
{
	struct fixture *f = *state;
	struct blob_id head = { 0 }, tree;
	struct act a;
	char hex[41], *out;

	act_begin(&a, f);
	act_end(&a, &head);
	assert_ok(repo_site_tree(f->r, &head, &tree));
	fixture_id_hex(&tree, hex);
	assert_string_equal(hex, "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
	act_begin(&a, f);
	act_put(&a, "/empty", NULL, 0, false);
	act_end(&a, &head);
	act_begin(&a, f);
	act_remove(&a, "/empty");
	act_end(&a, &head);
	out = fixture_list(f, &head);
	assert_string_equal(out, "");
	free(out);
	fixture_fsck(f);
	fixture_signatures(f, LOG_REF);
}

#ifdef DRYDOCK_ENABLE_FAILPOINTS
/* Every call that writes is made to fail once: an error each time, nothing left behind, and the next try works. */
static void failing_calls(void **state)
{
	struct fixture *f = *state;
	struct blob_id head = { 0 };
	int failures = 0, in_a_row = 0;

	/* a failing close or unlink does no harm, so it goes on until none of the last ten tries failed */
	for (long n = 1; in_a_row < 10; n++) {
		struct act a;
		struct blob_id commit, id;
		struct repo_stream *s = NULL;
		enum err e;
		char text[32];

		snprintf(text, sizeof(text), "try %ld", n);
		act_begin(&a, f);
		id = act_text(&a, "/a", text);
		act_commit(&a, &head, &commit);
		failpoint_arm(FAILPOINT_SYS, 0, (int)(n), EIO);
		e = repo_stream_begin(a.pack, strlen(text), &s);
		if (!e)
			e = repo_stream_add(s, text, strlen(text));
		if (!e)
			e = repo_stream_end(s, &id);
		else
			repo_stream_cancel(s);
		if (!e)
			e = repo_pack_publish(a.pack, n % 2);
		failpoint_arm(FAILPOINT_NOTHING, 0, 0, 0);
		if (e) {
			assert_int_equal(e, ERR_FAILED);
			failures++;
			in_a_row = 0;
			/* nothing that the next act would take for kept */
			repo_refresh(f->r);
			assert_false(repo_has(f->r, &commit));
		}
		act_drop(&a);
		assert_int_equal(count_files(f->repo, "drydock-tmp"), 0);
		if (!e) {
			assert_ok(repo_ref_set(f->r, LOG_REF, &commit));
			in_a_row++;
		}
	}
	assert_true(failures >= 8);
	fixture_signatures(f, LOG_REF);
	fixture_fsck(f);
}
#endif

/* After a power failure: the index of the last acts was never synced. */
static void lost_indexes(void **state)
{
	struct fixture *f = *state;
	struct blob_id head = { 0 };
	char dir[160], name[512];
	unsigned turn = 0;
	struct act a;
	DIR *d;

	for (unsigned i = 0; i < 6; i++) {
		act_begin(&a, f);
		act_text(&a, "/a", (const char *[]){ "0", "1", "2", "3", "4", "5" }[i]);
		act_end(&a, &head);
	}
	snprintf(dir, sizeof(dir), "%s/objects/pack", f->repo);
	d = opendir(dir);
	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		if (!strstr(e->d_name, ".idx"))
			continue;
		snprintf(name, sizeof(name), "%s/%s", dir, e->d_name);
		assert_int_equal(chmod(name, 0600), 0);
		switch (turn++ % 4) {
		case 0:
			assert_int_equal(truncate(name, 0), 0);
			break;
		case 1:
			assert_int_equal(unlink(name), 0);
			break;
		case 2: {
			static const char zero[512];
			int fd = open(name, O_WRONLY | O_CLOEXEC);
			assert_int_equal(pwrite(fd, zero, sizeof(zero), 1040), sizeof(zero));
			close(fd);
			break;
		}
		default:
			break;
		}
	}
	closedir(d);
	repo_close(f->r);
	assert_ok(repo_open(&f->r, f->repo));
	assert_ok(repo_clean_temporary(f->r));
	for (unsigned i = 0; i < 6; i++) {
		assert_true(repo_has(f->r, &head));
		assert_ok(commit_by(f->r, &head, f->key));
		assert_ok(repo_commit_parent(f->r, &head, &head));
	}
	fixture_fsck(f);
	fixture_signatures(f, LOG_REF);
	assert_int_equal(count_files(f->repo, "drydock-tmp"), 0);
}

/* A process that died while it moved a ref, or while git wrote a pack. */
static void left_locks(void **state)
{
	struct fixture *f = *state;
	struct blob_id head = { 0 }, commit;
	char file[200];
	struct act a;

	act_begin(&a, f);
	act_text(&a, "/a", "1");
	act_commit(&a, &head, &commit);
	assert_ok(repo_pack_publish(a.pack, false));
	act_drop(&a);
	static const char *const left[] = { LOG_REF ".lock", "refs/heads/main.lock", "packed-refs.lock", "objects/pack/tmp_pack_XyZ" };
	for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++) {
		snprintf(file, sizeof(file), "%s/%s", f->repo, left[i]);
		assert_ok(file_write(AT_FDCWD, file, "", 0, 0600));
	}
	assert_err(ERR_BUSY, repo_ref_move(f->r, LOG_REF, NULL, &commit));
	assert_ok(repo_clean_temporary(f->r));
	for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++) {
		snprintf(file, sizeof(file), "%s/%s", f->repo, left[i]);
		assert_false(file_exists(AT_FDCWD, file));
	}
	assert_ok(repo_ref_move(f->r, LOG_REF, NULL, &commit));
	assert_ok(repo_ref_move(f->r, "refs/heads/main", NULL, &commit));
	fixture_fsck(f);
}

static void on_trouble(void *arg, const char *what)
{
	buf_str(arg, what);
	buf_char(arg, '\n');
}

static void checked(void **state)
{
	struct fixture *f = *state;
	struct buf out = BUF_INIT(65536);
	struct blob_id head = { 0 };
	char dir[160], name[512];
	atomic_int stop = 1;
	struct act a;
	DIR *d;

	act_begin(&a, f);
	act_text(&a, "/a", "a text that is long enough to be damaged in the middle of it, and then some more");
	act_end(&a, &head);
	assert_ok(repo_check(f->r, false, NULL, on_trouble, &out));
	assert_ok(repo_check(f->r, true, NULL, on_trouble, &out));
	/* whoever stops the server does not wait for git */
	assert_int_equal(repo_check(f->r, true, &stop, on_trouble, &out), ERR_BUSY);
	assert_string_equal(buf_text(&out), "");
	snprintf(dir, sizeof(dir), "%s/objects/pack", f->repo);
	d = opendir(dir);
	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		if (!strstr(e->d_name, ".pack"))
			continue;
		snprintf(name, sizeof(name), "%s/%s", dir, e->d_name);
		assert_int_equal(chmod(name, 0600), 0);
		int fd = open(name, O_WRONLY | O_CLOEXEC);
		assert_int_equal(pwrite(fd, "damage", 6, 60), 6);
		close(fd);
	}
	closedir(d);
	assert_ok(repo_check(f->r, true, NULL, on_trouble, &out));
	assert_true(out.len > 0);
	buf_release(&out);
}

static unsigned count_packs(struct fixture *f)
{
	char path[256];
	unsigned n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "%s/objects/pack", f->repo);
	d = opendir(path);
	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d)) != NULL;)
		n += strstr(e->d_name, ".idx") != NULL;
	closedir(d);
	return n;
}

/* Small packs are put together; handles opened before go on reading and writing. */
static void maintained(void **state)
{
	struct fixture *f = *state;
	struct blob_id head = { 0 }, found, orphan, big;
	struct repo *other, *idle;
	struct repo_stream *s;
	struct act a;
	unsigned most = 0, least = 1000, runs = 0;
	bool done, exec;

	assert_ok(repo_open(&other, f->repo));
	act_begin(&a, f);
	orphan = act_text(&a, "/orphan", "of an act that was not committed");
	assert_ok(repo_stream_begin(a.pack, 5, &s));
	assert_ok(repo_stream_add(s, "large", 5));
	assert_ok(repo_stream_end(s, &big));
	assert_ok(repo_pack_publish(a.pack, false));
	act_drop(&a);
	assert_ok(repo_maintain(f->r, 20, &done));
	assert_false(done);
	for (unsigned i = 0; i < 120; i++) {
		char path[32], text[64];
		snprintf(path, sizeof(path), "/d%u/f%u", i % 7, i);
		snprintf(text, sizeof(text), "the text of number %u", i);
		act_begin(&a, f);
		act_text(&a, path, text);
		act_end(&a, &head);
		if (i == 50)
			assert_ok(repo_open(&idle, f->repo));
		assert_ok(repo_maintain(i % 2 ? f->r : other, 20, &done));
		runs += done;
		most = count_packs(f) > most ? count_packs(f) : most;
		if (done)
			least = count_packs(f) < least ? count_packs(f) : least;
		assert_ok(repo_find(other, &head, fixture_path(f, path), &found, &exec));
		assert_ok(repo_find(i >= 50 ? idle : f->r, &head, fixture_path(f, "/d0/f0"), &found, &exec));
		assert_true(repo_has(other, &orphan));
	}
	assert_true(runs >= 4);
	assert_in_range(most, 20, 22);
	assert_true(least < 6);
	assert_true(repo_has(idle, &orphan));
	assert_true(repo_has(idle, &big));
	fixture_fsck(f);
	fixture_signatures(f, LOG_REF);
	/* and by stock git from outside, under open handles that know the old packs only */
	free(fixture_git(f, "repack", "-q", "-a", "-d", NULL));
	for (unsigned i = 0; i < 120; i += 13) {
		char path[32], text[64];
		struct buf b = BUF_INIT(100);
		snprintf(path, sizeof(path), "/d%u/f%u", i % 7, i);
		snprintf(text, sizeof(text), "the text of number %u", i);
		assert_ok(repo_find(idle, &head, fixture_path(f, path), &found, &exec));
		assert_ok(repo_blob_read(idle, &found, &b));
		assert_string_equal(b.p, text);
		buf_release(&b);
	}
	repo_close(other);
	repo_close(idle);
}

/* One thread acts, one puts packs together, one reads: each with its own handle. */
struct meanwhile {
	struct repo *maintains, *reads;
	struct blob_id head; /* atomic enough: under lock */
	pthread_mutex_t lock;
	int stop;
	unsigned runs, read;
	char failed[512];
};

static void meanwhile_failed(struct meanwhile *m, const char *what)
{
	snprintf(m->failed, sizeof(m->failed), "%s: %s", what, err_text());
	__atomic_store_n(&m->stop, 1, __ATOMIC_RELAXED);
}

static void *maintain_on(void *arg)
{
	struct meanwhile *m = arg;

	while (!__atomic_load_n(&m->stop, __ATOMIC_RELAXED)) {
		bool done;
		if (repo_maintain(m->maintains, 6, &done))
			meanwhile_failed(m, "maintain");
		__atomic_add_fetch(&m->runs, done, __ATOMIC_RELAXED);
	}
	return NULL;
}

static enum err read_file(void *arg, struct path path, const struct blob_id *blob, bool exec)
{
	struct meanwhile *m = arg;
	struct buf b = BUF_INIT(1000);
	enum err e = repo_blob_read(m->reads, blob, &b);

	(void)path;
	(void)exec;
	buf_release(&b);
	__atomic_add_fetch(&m->read, 1, __ATOMIC_RELAXED);
	return e;
}

static void *read_on(void *arg)
{
	struct meanwhile *m = arg;

	while (!__atomic_load_n(&m->stop, __ATOMIC_RELAXED)) {
		struct blob_id head;
		pthread_mutex_lock(&m->lock);
		head = m->head;
		pthread_mutex_unlock(&m->lock);
		if (repo_walk(m->reads, &head, read_file, m))
			meanwhile_failed(m, "read");
	}
	return NULL;
}

static void maintained_meanwhile(void **state)
{
	struct fixture *f = *state;
	struct meanwhile m = { .lock = PTHREAD_MUTEX_INITIALIZER };
	struct blob_id head = { 0 };
	pthread_t one, two;
	struct act a;

	assert_ok(repo_open(&m.maintains, f->repo));
	assert_ok(repo_open(&m.reads, f->repo));
	assert_int_equal(pthread_create(&one, NULL, maintain_on, &m), 0);
	assert_int_equal(pthread_create(&two, NULL, read_on, &m), 0);
	/* at least so many, and until the others had their turns */
	for (unsigned i = 0; !__atomic_load_n(&m.stop, __ATOMIC_RELAXED); i++) {
		char path[32], text[64];
		if (i >= 200 && __atomic_load_n(&m.runs, __ATOMIC_RELAXED) > 2 && __atomic_load_n(&m.read, __ATOMIC_RELAXED) > 40)
			break;
		snprintf(path, sizeof(path), "/d%u/f%u", i % 5, i % 40);
		snprintf(text, sizeof(text), "text %u", i);
		act_begin(&a, f);
		act_text(&a, path, text);
		act_end(&a, &head);
		pthread_mutex_lock(&m.lock);
		m.head = head;
		pthread_mutex_unlock(&m.lock);
	}
	__atomic_store_n(&m.stop, 1, __ATOMIC_RELAXED);
	assert_int_equal(pthread_join(one, NULL), 0);
	assert_int_equal(pthread_join(two, NULL), 0);
	assert_string_equal(m.failed, "");
	fixture_fsck(f);
	fixture_signatures(f, LOG_REF);
	repo_close(m.maintains);
	repo_close(m.reads);
}

/* --- a handle that has learned where everything is --------------------------------------------------------------------- */

static const char *const LEARNED[] = { "first\n", "second, a little longer\n", "third, the longest of all of them\n" };
#define N_LEARNED (sizeof(LEARNED) / sizeof(*LEARNED))

/* Each version is read as it was written, or not at all. How many were read. */
static unsigned read_learned(struct repo *r, const struct blob_id *ids)
{
	unsigned n = 0;

	for (size_t i = 0; i < N_LEARNED; i++) {
		struct buf text = BUF_INIT(1024);
		uint64_t size;

		if (repo_blob_read(r, &ids[i], &text) == ERR_OK) {
			assert_string_equal(buf_text(&text), LEARNED[i]);
			assert_ok(repo_blob_size(r, &ids[i], &size));
			assert_int_equal(size, strlen(LEARNED[i]));
			n++;
		}
		buf_release(&text);
	}
	return n;
}

static void flip(const char *name, off_t at)
{
	int fd = open(name, O_RDWR | O_CLOEXEC);
	char c;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &c, 1, at), 1);
	c ^= 0x10;
	assert_int_equal(pwrite(fd, &c, 1, at), 1);
	close(fd);
}

/* No bit of a pack or of its index makes other bytes of a version, or finds one for the learned handle alone. */
static void flip_each(struct fixture *f, const char *end, const struct blob_id *ids)
{
	char *pattern = mem_printf("%s/objects/pack/*.%s", f->repo, end);
	glob_t files;

	assert_int_equal(glob(pattern, 0, NULL, &files), 0);
	for (size_t i = 0; i < files.gl_pathc; i++) {
		struct stat st;

		assert_int_equal(chmod(files.gl_pathv[i], 0644), 0);
		assert_int_equal(stat(files.gl_pathv[i], &st), 0);
		for (off_t at = 0; at < st.st_size; at += at < 16 || at > 1032 ? 1 : 61) {
			struct repo *plain, *r;

			flip(files.gl_pathv[i], at);
			recent_forget();
			assert_ok(repo_open(&plain, f->repo));
			assert_ok(repo_open(&r, f->repo));
			repo_learn(r);
			assert_int_equal(read_learned(r, ids), read_learned(plain, ids));
			repo_close(r);
			repo_close(plain);
			flip(files.gl_pathv[i], at);
		}
	}
	globfree(&files);
	free(pattern);
}

static void learned(void **state)
{
	struct fixture *f = *state;
	struct blob_id head = { 0 }, ids[N_LEARNED];
	struct repo *r, *like;
	struct act a;

	for (size_t i = 0; i < N_LEARNED; i++) {
		if (i == N_LEARNED - 1) {
			assert_ok(repo_open(&r, f->repo));
			repo_learn(r);
			assert_ok(repo_open_like(&like, r));
		}
		act_begin(&a, f);
		ids[i] = act_text(&a, "/a", LEARNED[i]);
		act_end(&a, &head);
	}
	recent_forget();
	/* the last came after it had learned */
	assert_int_equal(read_learned(r, ids), N_LEARNED);
	assert_int_equal(read_learned(like, ids), N_LEARNED);
	repo_learn(r);
	assert_int_equal(read_learned(r, ids), N_LEARNED);
	assert_ok(commit_by(r, &head, f->key));
	flip_each(f, "pack", ids);
	flip_each(f, "idx", ids);
	/* the packs that it knows are gone, and what is in the new one are differences */
	free(fixture_git(f, "repack", "-adfq", NULL));
	recent_forget();
	assert_int_equal(read_learned(r, ids), N_LEARNED);
	repo_learn(r);
	assert_int_equal(read_learned(r, ids), N_LEARNED);
	repo_close(like);
	repo_close(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(first_act, fixture_begin, fixture_end),
		cmocka_unit_test_setup_teardown(invisible_until_published, fixture_begin, fixture_end),
		cmocka_unit_test_setup_teardown(dropped_leaves_nothing, fixture_begin, fixture_end),
		cmocka_unit_test_setup_teardown(published_twice, fixture_begin, fixture_end),
		cmocka_unit_test_setup_teardown(refs_swap, fixture_begin, fixture_end),
		cmocka_unit_test_setup_teardown(hostile_names, fixture_begin, fixture_end),
		cmocka_unit_test_setup_teardown(release_and_tag, fixture_begin, fixture_end),
		cmocka_unit_test_setup_teardown(two_threads, fixture_begin, fixture_end),
		cmocka_unit_test_setup_teardown(streamed, fixture_begin, fixture_end),
		cmocka_unit_test_setup_teardown(damaged_stream, fixture_begin, fixture_end),
		cmocka_unit_test_setup_teardown(empty_files_and_trees, fixture_begin, fixture_end),
#ifdef DRYDOCK_ENABLE_FAILPOINTS
		cmocka_unit_test_setup_teardown(failing_calls, fixture_begin, fixture_end),
#endif
		cmocka_unit_test_setup_teardown(checked, fixture_begin, fixture_end),
		cmocka_unit_test_setup_teardown(left_locks, fixture_begin, fixture_end),
		cmocka_unit_test_setup_teardown(lost_indexes, fixture_begin, fixture_end),
		cmocka_unit_test_setup_teardown(learned, fixture_begin, fixture_end),
		cmocka_unit_test_setup_teardown(maintained, fixture_begin, fixture_end),
		cmocka_unit_test_setup_teardown(maintained_meanwhile, fixture_begin, fixture_end),
	};
	log_level_set(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests_name("repo pack", tests, NULL, NULL);
}
