/*
 * A delivery to drydock-receive, the sender's side: what is said on the wire stands at the top of
 * server/receive/delivery.c; what a kit is given, in sync-scripts/README.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/sys.h"
#include "core/manifest.h"
#include "kits/deliver.h"
#include "kits/far.h"

#define BLOCK 512
#define PIECE (256 * 1024)
#define BESIDE_LEAST 65536 /* bytes: with fewer the stream is done before another way, with processes and a session of its own, has begun */

struct sending {
	struct kit_ssh ssh;
	deliver_bring_fn *bring; /* NULL: all goes in the stream */
	int export, papers;
	uint64_t release, from; /* from 0: the list is whole */
	uint64_t held; /* by the receiver */
	int64_t keys; /* changes of the key that it knows; -1: it is too old to know of any */
	char piece[PIECE];
	struct buf out; /* small things, on their way */
};

/* Of the files that production needs: how many are on their way or there. */
static struct far far;

void deliver_arrived(uint64_t files)
{
	far_more(&far, files);
}

/* --- tar -------------------------------------------------------------------------------------------------------------------- */

static bool flush(struct sending *s)
{
	/* Whoever hung up has said why, or ssh has. */
	bool ok = !s->out.len || !sys_write_all(s->ssh.to, s->out.p, s->out.len);

	buf_reset(&s->out);
	return ok;
}

static bool put(struct sending *s, const void *p, size_t n)
{
	buf_add(&s->out, p, n);
	return s->out.len < PIECE || flush(s);
}

static bool put_header(struct sending *s, const char *name, size_t len, uint64_t size, char type)
{
	unsigned char h[BLOCK] = { 0 };
	unsigned sum = 0;

	memcpy(h, name, len < 100 ? len : 100);
	memcpy(h + 100, "0000644\0000000000\0000000000", 24);
	if (size < UINT64_C(1) << 33) {
		(void)snprintf((char *)h + 124, 12, "%011llo", (unsigned long long)size);
	} else {
		h[124] = 0x80;
		for (int i = 0; i < 8; i++)
			h[135 - i] = (unsigned char)(size >> (8 * i));
	}
	memcpy(h + 136, "00000000000", 12);
	memset(h + 148, ' ', 8);
	h[156] = (unsigned char)type;
	memcpy(h + 257, "ustar  ", 8);
	for (int i = 0; i < BLOCK; i++)
		sum += h[i];
	(void)snprintf((char *)h + 148, 8, "%06o", sum);
	return put(s, h, sizeof(h));
}

static bool put_padding(struct sending *s, uint64_t size)
{
	static const char nothing[BLOCK];

	return size % BLOCK == 0 || put(s, nothing, BLOCK - size % BLOCK);
}

static bool put_member(struct sending *s, const char *name, uint64_t size)
{
	const size_t len = strlen(name);

	if (len >= 100 && (!put_header(s, "././@LongLink", 13, len + 1, 'L') || !put(s, name, len + 1) || !put_padding(s, len + 1)))
		return false;
	return put_header(s, name, len, size, '0');
}

/* A whole file; its size is what was said. */
static bool put_file(struct sending *s, const char *name, int fd, uint64_t size)
{
	uint64_t left = size;

	if (!put_member(s, name, size))
		return false;
	while (left) {
		ssize_t n = read(fd, s->piece, left < PIECE ? (size_t)left : PIECE);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return kit_failed("%s changed while it was sent", name);
		if (!put(s, s->piece, (size_t)n))
			return false;
		left -= (uint64_t)n;
		deliver_arrived(0);
	}
	return put_padding(s, size);
}

static bool put_paper(struct sending *s, const char *file, const char *name)
{
	struct stat st;
	int fd = openat(s->papers, file, O_RDONLY | O_CLOEXEC);
	bool ok;

	if (fd < 0 || fstat(fd, &st)) {
		if (fd >= 0)
			(void)close(fd);
		return kit_failed("the paper %s of the release is missing", file);
	}
	ok = put_file(s, name, fd, (uint64_t)st.st_size);
	(void)close(fd);
	return ok;
}

/* --- what is sent ------------------------------------------------------------------------------------------------------------ */

static bool put_heads(struct sending *s)
{
	const uint64_t first = s->held == s->release || !s->held ? s->release : s->held + 1;
	char file[32], name[64];

	for (uint64_t n = first; n <= s->release; n++) {
		snprintf(file, sizeof(file), "%llu", (unsigned long long)n);
		/* Numbers may have gaps; a head that is needed and not here is missed by the receiver. */
		if (n != s->release && faccessat(s->papers, file, R_OK, 0))
			continue;
		snprintf(name, sizeof(name), "release/%s", file);
		if (!put_paper(s, file, name))
			return false;
		snprintf(file, sizeof(file), "%llu.sig", (unsigned long long)n);
		snprintf(name, sizeof(name), "release/%s", file);
		if (!put_paper(s, file, name))
			return false;
	}
	return true;
}

static bool put_keys(struct sending *s)
{
	char file[64], name[64];

	for (int64_t n = s->keys < 0 ? 1 : s->keys + 1;; n++) {
		snprintf(file, sizeof(file), "key-%lld", (long long)n);
		if (faccessat(s->papers, file, R_OK, 0))
			return true;
		if (s->keys < 0)
			return kit_failed("DryDock's key was changed, and this receiver cannot hear of it: install this version of drydock-receive there");
		snprintf(name, sizeof(name), "key/%lld", (long long)n);
		if (!put_paper(s, file, name))
			return false;
		snprintf(file, sizeof(file), "key-%lld.sig", (long long)n);
		snprintf(name, sizeof(name), "key/%lld.sig", (long long)n);
		if (!put_paper(s, file, name))
			return false;
	}
}

static bool put_offer(struct sending *s)
{
	if (!put_keys(s) || !put_heads(s))
		return false;
	if (s->held != s->release && !put_paper(s, "list", s->from ? "difference" : "manifest"))
		return false;
	return flush(s);
}

static int open_export(struct sending *s, const char *path)
{
	struct open_how how = { .flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS };

	return (int)syscall(SYS_openat2, s->export, path + 1, &how, sizeof(how));
}

static bool send_one(struct sending *s, const struct manifest_line *l)
{
	char *name = mem_printf("files%s", l->path.s);
	struct stat st;
	int fd = open_export(s, l->path.s);
	bool ok = fd >= 0 && !fstat(fd, &st);

	if (!ok)
		(void)kit_failed("%s is missing in the export", l->path.s);
	else if ((uint64_t)st.st_size != l->size)
		ok = kit_failed("%s in the export is not what the release lists", l->path.s);
	ok = ok && put_file(s, name, fd, l->size);
	if (fd >= 0)
		(void)close(fd);
	free(name);
	return ok;
}

struct range {
	unsigned long long from, to;
};

struct need {
	struct range *list;
	size_t n;
	unsigned long long total;
};

/* "FROM-TO" lines up to "."; false: an error was told. */
static bool read_need(struct sending *s, struct need *out)
{
	size_t cap = 0;
	char *line;
	json_t *v;

	free(out->list);
	*out = (struct need){ .list = NULL };
	while (v = kit_ssh_answer(&s->ssh, &line), !v && line && strcmp(line, ".")) {
		struct range r;

		if (sscanf(line, "%llu-%llu", &r.from, &r.to) != 2 || r.to < r.from)
			continue;
		out->list = mem_grow(out->list, &cap, out->n + 1, sizeof(*out->list));
		out->list[out->n++] = r;
		out->total += r.to - r.from + 1;
	}
	if (!v && line)
		return true;
	if (!v || !kit_refused(v))
		(void)kit_failed("production hung up");
	json_decref(v);
	return false;
}

static bool is_need(const char *line)
{
	return line && !strcmp(line, "need");
}

typedef bool file_fn(void *arg, const struct manifest_line *l);

/* The first `most` files that are needed, in order. */
static bool each_needed(struct sending *s, const struct need *need, unsigned long long most, file_fn *fn, void *arg)
{
	struct manifest_reading list = { .n = 0 };
	struct manifest_line l;
	unsigned long long i = 0, done = 0;
	size_t at = 0;
	bool got = false, ok = true;

	if (manifest_reading_add(&list, s->papers, "list"))
		ok = kit_failed("%s", err_text());
	while (ok && at < need->n && done < most && !list.source.next(list.source.arg, &l, &got) && got) {
		if (l.gone)
			continue;
		if (i >= need->list[at].from && i <= need->list[at].to) {
			ok = fn(arg, &l);
			done++;
		}
		at += i == need->list[at].to;
		i++;
	}
	manifest_reading_end(&list);
	return ok;
}

static bool stream_one(void *arg, const struct manifest_line *l)
{
	if (!send_one(arg, l))
		return false;
	deliver_arrived(1);
	return true;
}

static bool add_file(void *arg, const struct manifest_line *l)
{
	return deliver_batch_add(arg, l);
}

static bool add_size(void *arg, const struct manifest_line *l)
{
	*(uint64_t *)arg += l->size;
	return true;
}

/* By another way first, a batch at a time, and then the receiver looks: what did not get there goes in the stream. */
static bool bring_files(struct sending *s, struct need *need)
{
	unsigned long long before;
	uint64_t size = 0;
	char *line;
	json_t *v;

	if (s->bring && !each_needed(s, need, need->total, add_size, &size))
		return false;
	if (size < BESIDE_LEAST)
		s->bring = NULL;
	while (s->bring && need->n) {
		struct deliver_batch batch = { .count = 0 };
		bool ok = deliver_batch_begin(&batch) && each_needed(s, need, DELIVER_BATCH, add_file, &batch) && s->bring(&batch);

		deliver_batch_end(&batch);
		if (!ok || !put_member(s, "look", 0) || !flush(s))
			return false;
		before = need->total;
		v = kit_ssh_answer(&s->ssh, &line);
		if (v || !is_need(line)) {
			(void)(v ? kit_refused(v) : kit_failed("production hung up"));
			json_decref(v);
			return false;
		}
		if (!read_need(s, need))
			return false;
		/* What the receiver has, whatever was said before. */
		far.done = far.total - (need->total < far.total ? need->total : far.total);
		if (need->total >= before)
			break;
	}
	if (s->bring && need->total)
		printf("%llu files go in the stream\n", need->total);
	return true;
}

static bool send_files(struct sending *s)
{
	static const char end[2 * BLOCK];
	struct need need = { .list = NULL };
	bool ok = read_need(s, &need);

	far_begin(&far, need.total);
	ok = ok && bring_files(s, &need) && each_needed(s, &need, need.total, stream_one, s);
	free(need.list);
	return ok && put(s, end, sizeof(end)) && flush(s);
}

/* --- a batch ------------------------------------------------------------------------------------------------------------------ */

bool deliver_batch_begin(struct deliver_batch *b)
{
	b->parent[0] = '\0';
	if (file_remove_tree(AT_FDCWD, DELIVER_LINKS) || file_mkdirs(DELIVER_LINKS, 0700))
		return kit_failed("%s", err_text());
	return true;
}

bool deliver_batch_add(struct deliver_batch *b, const struct manifest_line *l)
{
	char *name = mem_printf(DELIVER_LINKS "%s", l->path.s), *to = mem_printf("%s%s", kit_variable("DRYDOCK_EXPORT"), l->path.s);
	const size_t up = (size_t)(strrchr(name, '/') - name);
	bool ok = true;

	if (strncmp(b->parent, name, up) || b->parent[up]) {
		memcpy(b->parent, name, up);
		b->parent[up] = '\0';
		ok = !file_mkdirs(b->parent, 0700);
	}
	if (!ok || sys_symlink(to, AT_FDCWD, name))
		ok = kit_failed("%s: %s", name, strerror(errno));
	b->count++;
	free(name);
	free(to);
	return ok;
}

void deliver_batch_end(struct deliver_batch *b)
{
	b->parent[0] = '\0';
	(void)!file_remove_tree(AT_FDCWD, DELIVER_LINKS);
}

/* --- from the greeting to the receipt -------------------------------------------------------------------------------------------- */

static bool greeted(struct sending *s)
{
	bool bad = false, ok = false;
	char *line;
	json_t *v = kit_ssh_answer(&s->ssh, &line);
	const char *site = json_get_str(v, "site", &bad), *said;

	if (!v && line)
		(void)kit_failed("production answers something else than drydock-receive: is it bound to the key by command=?");
	else if (!v)
		(void)kit_failed("production cannot be reached: %s", *(said = kit_ssh_said(&s->ssh)) ? said : "ssh does not say why");
	else if (!kit_refused(v) && (!site || bad || json_get_int(v, "receiver", 0, &bad) != 1))
		(void)kit_failed("production answers something else than drydock-receive");
	else if (site && strcmp(site, kit_variable("DRYDOCK_SITE")))
		(void)kit_failed("this receiver is for the site %s", site);
	else if (site)
		ok = true;
	s->held = (uint64_t)json_get_int(v, "number", 0, &bad);
	s->keys = json_get_int(v, "keys", -1, &bad);
	if (ok)
		kit_print_greeting(v);
	json_decref(v);
	return ok;
}

static bool deliver(struct sending *s)
{
	char *line;
	bool ok;
	json_t *v;

	if (s->held > s->release)
		return kit_failed("production holds release %llu already: was this server restored from an older copy?", (unsigned long long)s->held);
	if (s->from && s->held != s->from && s->held != s->release)
		return kit_failed("production holds release %llu, not %llu: the next try sends the whole list", (unsigned long long)s->held,
		    (unsigned long long)s->from);
	/* Nothing is there that it could be a difference from: one stream is three times as fast as rsync. */
	if (!s->held)
		s->bring = NULL;
	/* The papers are files, too; of how many nobody knows yet. */
	far_begin(&far, 0);
	ok = put_offer(s);
	v = kit_ssh_answer(&s->ssh, &line);
	if (v || !is_need(line)) {
		/* The receipt for what it has already, or why it refuses. */
		ok = v ? !kit_refused(v) && kit_print_receipt(v) : kit_failed("production hung up");
		json_decref(v);
		return ok;
	}
	if (!ok)
		return kit_failed("production hung up");
	ok = send_files(s);
	if (ok)
		kit_sent();
	(void)close(s->ssh.to);
	s->ssh.to = -1;
	v = kit_ssh_answer(&s->ssh, &line);
	if (!v)
		ok = ok ? kit_failed("production gave no receipt") : false;
	else
		ok = !kit_refused(v) && kit_print_receipt(v);
	json_decref(v);
	return ok;
}

int deliver_main(int argc, char **argv, deliver_bring_fn *bring)
{
	static struct sending s = { .export = -1, .papers = -1 };
	bool ok;

	if (argc == 2 && !strcmp(argv[1], "connect"))
		return kit_connect();
	if (argc != 2 || (strcmp(argv[1], "sync") && strcmp(argv[1], "test"))) {
		fputs("This is a kit: DryDock runs it. See sync-scripts/README.\n", stderr);
		return 2;
	}
	s.bring = bring;
	s.out = BUF_INIT(2 * PIECE + 65536);
	ok = kit_ssh_start(&s.ssh, "drydock-receive", bring != NULL);
	/* ssh connects meanwhile. */
	if (ok && !kit_told(&s.ssh)) {
		(void)kill(s.ssh.pid, SIGTERM);
		ok = false;
	}
	s.release = kit_number("DRYDOCK_RELEASE");
	s.from = kit_number("DRYDOCK_LIST_FROM");
	ok = ok && greeted(&s);
	if (ok && !strcmp(argv[1], "test")) {
		printf("production answers: site %s, release %llu\n", kit_variable("DRYDOCK_SITE"), (unsigned long long)s.held);
	} else if (ok) {
		s.export = open(kit_variable("DRYDOCK_EXPORT"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		s.papers = open(kit_variable("DRYDOCK_PAPERS"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		ok = s.export >= 0 && s.papers >= 0 ? deliver(&s) : kit_failed("the release's files or papers cannot be read: %s", strerror(errno));
	}
	(void)kit_ssh_end(&s.ssh);
	buf_release(&s.out);
	return fflush(stdout) || !ok;
}
