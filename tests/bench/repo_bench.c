/*
 * repo_bench: how long repository and export take for one act. Prints milliseconds; compares nothing.
 *
 *	repo_bench [DIRECTORY]
 *
 * Makes a site of 15,000 files in a new directory below DIRECTORY (/tmp), then signs one file 300 times, then 10,000
 * new files (150 MB, half of it text) with two threads in one act.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/pool.h"
#include "base/sys.h"
#include "export/export.h"
#include "repo/repo.h"

#define TREE 15000
#define BATCH 10000
#define BATCH_BYTES 15000
#define SINGLE 300

static struct {
	char dir[128], repo[160];
	struct node_key *key;
	struct repo *r;
	struct export_dir *e;
	struct blob_id head;
	uint64_t seq;
	struct arena *arena;
	double publish_ms, export_ms; /* of the last act */
} b;

static void must(enum err e)
{
	if (e) {
		fprintf(stderr, "repo_bench: %s\n", err_text());
		exit(1);
	}
}

static double ms(int64_t from)
{
	return (double)(clock_boot() - from) / 1000;
}

static double cpu_ms(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000 + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1000;
}

struct file {
	struct path path;
	const char *bytes;
	size_t n;
	struct blob_id id;
};

struct batch {
	struct repo_pack *pack;
	struct file *files;
};

static void add_one(void *arg, size_t i)
{
	struct batch *batch = arg;
	struct file *f = &batch->files[i];

	must(repo_pack_blob(batch->pack, f->bytes, f->n, &f->id));
	must(export_prepare(b.e, &f->id, f->bytes, f->n));
}

static int64_t when(void *arg, struct path path)
{
	(void)arg;
	(void)path;
	return clock_wall();
}

static void act(struct file *files, size_t n, unsigned threads)
{
	struct batch batch = { .files = files };
	struct record record = { .site = "bench", .node = node_key_id(b.key), .seq = ++b.seq, .act = "sign", .at = clock_wall(),
		.actor = { .user = "own:alice", .name = "alice", .provider = "own" }, .shown = "as-staged", .meaning = "", .note = "",
		.fields = json_object(), .files_count = n };
	struct repo_commit c = { .record = &record, .parent = b.head, .rules = "rules\n", .rules_len = 6 };
	struct buf bytes = BUF_INIT(65536), list = BUF_INIT(64 * 1024 * 1024);
	struct blob_id commit;
	struct plan plan;
	int64_t from;

	uuid_new(&record.op);
	must(repo_pack_begin(b.r, &record.op, &batch.pack));
	pool_each(threads, n, add_one, &batch);
	plan_init(&plan);
	for (size_t i = 0; i < n; i++) {
		struct record_file rf = { .path = files[i].path, .blob = files[i].id, .print.size = files[i].n };
		record_file_encode(&rf, &list);
		plan_add(&plan, PLAN_ADD, files[i].path, &files[i].id, false);
	}
	must(record_encode(&record, &bytes));
	must(repo_pack_tree(batch.pack, &b.head, &plan, &c.site_tree));
	c.record_bytes = bytes.p;
	c.record_len = bytes.len;
	c.files = list.p;
	c.files_len = list.len;
	must(repo_pack_commit(batch.pack, &c, b.key, &commit));
	from = clock_boot();
	must(repo_pack_publish(batch.pack, n > 100));
	b.publish_ms = ms(from);
	repo_pack_free(batch.pack);
	must(repo_ref_move(b.r, "refs/drydock/log/bench", &b.head, &commit));
	from = clock_boot();
	must(export_bring(b.e, b.r, &commit, &plan, when, NULL));
	b.export_ms = ms(from);
	b.head = commit;
	plan_release(&plan);
	json_decref(record.fields);
	buf_release(&bytes);
	buf_release(&list);
}

static struct file *make_files(const char *top, size_t n, size_t size)
{
	struct file *files = mem_array(n, sizeof(*files));

	for (size_t i = 0; i < n; i++) {
		char path[128];
		char *bytes = arena_alloc(b.arena, size + 64);

		snprintf(path, sizeof(path), "/%s/d%zu/e%zu/file-%zu.html", top, i / 1500, i / 50 % 30, i);
		must(path_parse(&files[i].path, path, strlen(path), b.arena));
		random_bytes(bytes, size / 2);
		for (size_t k = size / 2; k < size; k++)
			bytes[k] = "the quick brown fox jumps over the lazy dog, again and again. "[(k * (1 + k % 3)) % 62];
		files[i].bytes = bytes;
		files[i].n = size;
	}
	return files;
}

static int by_value(const void *a, const void *b_)
{
	double x = *(const double *)a, y = *(const double *)b_;
	return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
	struct file *tree, *more;
	double times[SINGLE], cpu;
	int64_t from;

	log_level_set(LOG_LEVEL_WARN);
	snprintf(b.dir, sizeof(b.dir), "%.80s/repo-bench-XXXXXX", argc > 1 ? argv[1] : "/tmp");
	if (!mkdtemp(b.dir)) {
		perror(b.dir);
		return 1;
	}
	snprintf(b.repo, sizeof(b.repo), "%s/site.git", b.dir);
	b.arena = arena_new();
	must(node_key_create(b.dir));
	must(node_key_load(&b.key, b.dir));
	must(repo_create(b.repo));
	must(repo_open(&b.r, b.repo));
	must(export_open(&b.e, b.dir));

	tree = make_files("site", TREE, 3000);
	from = clock_boot();
	act(tree, TREE, 2);
	printf("first act, %d files of 3 kB: %.0f ms (publish %.0f, export %.0f)\n", TREE, ms(from), b.publish_ms, b.export_ms);

	cpu = cpu_ms();
	double publish = 0, bring = 0;
	for (int i = 0; i < SINGLE; i++) {
		char text[64];
		struct file *one = &tree[(i * 7919) % TREE];
		snprintf(text, sizeof(text), "version %d", i);
		one->bytes = arena_dup(b.arena, text);
		one->n = strlen(text);
		from = clock_boot();
		act(one, 1, 1);
		times[i] = ms(from);
		publish += b.publish_ms;
		bring += b.export_ms;
	}
	cpu = (cpu_ms() - cpu) / SINGLE;
	printf("one file, the last of %d acts: %.2f ms\n", SINGLE, times[SINGLE - 1]);
	qsort(times, SINGLE, sizeof(times[0]), by_value);
	printf("one file: median %.2f ms, 95%% %.2f ms, of them CPU %.2f ms (publish %.2f, export %.2f)\n", times[SINGLE / 2],
	    times[SINGLE * 95 / 100], cpu, publish / SINGLE, bring / SINGLE);

	more = make_files("batch", BATCH, BATCH_BYTES);
	cpu = cpu_ms();
	from = clock_boot();
	act(more, BATCH, 2);
	printf("%d new files of 15 kB: %.0f ms, CPU %.0f ms (publish %.0f, export %.0f)\n", BATCH, ms(from), cpu_ms() - cpu, b.publish_ms,
	    b.export_ms);

	from = clock_boot();
	{
		struct repo *other;
		must(repo_open(&other, b.repo));
		printf("opening the repository with %d packs: %.2f ms\n", SINGLE + 2, ms(from));
		from = clock_boot();
		repo_refresh(other);
		printf("refreshing it: %.2f ms\n", ms(from));
		repo_close(other);
	}
	export_close(b.e);
	repo_close(b.r);
	node_key_free(b.key);
	free(tree);
	free(more);
	arena_free(b.arena);
	must(file_remove_tree(AT_FDCWD, b.dir));
	return 0;
}
