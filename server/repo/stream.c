/*
 * Large blobs: loose objects, deflated as they come, so that memory stays flat. The id comes from libgit2's stream,
 * whose SHA-1 detects the known collision attacks; the bytes go where our small backend below writes them.
 */
#include <errno.h>
#include <fcntl.h>
#include <git2/odb_backend.h>
#include <git2/sys/odb_backend.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/sys.h"
#include "repo/internal.h"

#define PIECE ((size_t)128 * 1024)

struct repo_stream {
	struct repo_pack *p;
	git_odb *odb; /* of our own, with the one backend */
	git_odb_stream *hash;
	z_stream z;
	bool z_open;
	char *name;
	int fd;
	uint64_t size, got;
	bool failed;
	uint8_t out[PIECE];
};

/* A stream of the backend; libgit2 keeps the hash in the head. */
struct sink {
	git_odb_stream head;
	struct repo_stream *s;
};

struct backend {
	git_odb_backend head;
	struct repo_stream *s;
};

static enum err deflate_some(struct repo_stream *s, const void *bytes, size_t n, int flush)
{
	int got;

	s->z.next_in = (Bytef *)(uintptr_t)bytes;
	s->z.avail_in = (uInt)n;
	do {
		s->z.next_out = s->out;
		s->z.avail_out = PIECE;
		got = deflate(&s->z, flush);
		if (got != Z_OK && got != Z_STREAM_END && got != Z_BUF_ERROR)
			return err_set(ERR_FAILED, "zlib failed: %d", got);
		if (sys_write_all(s->fd, s->out, PIECE - s->z.avail_out) != 0)
			return err_sys(ERR_FAILED, "cannot write an object in %s", pack_repo(s->p)->dir);
	} while (s->z.avail_out == 0 || (flush == Z_FINISH && got != Z_STREAM_END));
	return ERR_OK;
}

static int sink_write(git_odb_stream *stream, const char *bytes, size_t n)
{
	struct sink *sink = (struct sink *)stream;
	return deflate_some(sink->s, bytes, n, Z_NO_FLUSH) == ERR_OK ? 0 : GIT_EUSER;
}

static int sink_finalize(git_odb_stream *stream, const git_oid *id)
{
	(void)stream;
	(void)id;
	return 0;
}

static void sink_free(git_odb_stream *stream)
{
	free(stream);
}

static int backend_stream(git_odb_stream **out, git_odb_backend *backend, git_object_size_t size, git_object_t type)
{
	struct sink *sink = mem_alloc(sizeof(*sink));

	(void)size;
	(void)type;
	sink->s = ((struct backend *)backend)->s;
	sink->head.backend = backend;
	sink->head.mode = GIT_STREAM_WRONLY;
	sink->head.write = sink_write;
	sink->head.finalize_write = sink_finalize;
	sink->head.free = sink_free;
	*out = &sink->head;
	return 0;
}

static void backend_free(git_odb_backend *backend)
{
	free(backend);
}

static enum err hash_begin(struct repo_stream *s)
{
	struct backend *backend = mem_alloc(sizeof(*backend));

	if (git_odb_init_backend(&backend->head, GIT_ODB_BACKEND_VERSION) != 0 || git_odb_new(&s->odb) != 0) {
		free(backend);
		return git_failed(ERR_FAILED, "cannot begin an object");
	}
	backend->s = s;
	backend->head.writestream = backend_stream;
	backend->head.free = backend_free;
	if (git_odb_add_backend(s->odb, &backend->head, 1) != 0) {
		free(backend);
		return git_failed(ERR_FAILED, "cannot begin an object");
	}
	if (git_odb_open_wstream(&s->hash, s->odb, s->size, GIT_OBJECT_BLOB) != 0)
		return git_failed(ERR_FAILED, "cannot begin an object");
	return ERR_OK;
}

enum err repo_stream_begin(struct repo_pack *p, uint64_t size, struct repo_stream **out)
{
	struct repo_stream *s = mem_alloc(sizeof(*s));
	char head[32];
	enum err e;

	*out = NULL;
	s->p = p;
	s->fd = -1;
	s->size = size;
	e = hash_begin(s);
	if (e)
		goto out;
	if (deflateInit(&s->z, Z_BEST_SPEED) != Z_OK) {
		e = err_set(ERR_FAILED, "zlib cannot start");
		goto out;
	}
	s->z_open = true;
	s->name = pack_temporary(p, "obj");
	s->fd = sys_open(pack_tmp_dir(p), s->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0444);
	if (s->fd < 0) {
		e = err_sys(ERR_FAILED, "cannot create an object in %s", pack_repo(p)->dir);
		free(s->name);
		s->name = NULL;
		goto out;
	}
	/* with its NUL: "blob 123\0", then the bytes */
	snprintf(head, sizeof(head), "blob %llu", (unsigned long long)size);
	e = deflate_some(s, head, strlen(head) + 1, Z_NO_FLUSH);
	if (e)
		goto out;
	*out = s;
	s = NULL;
out:
	repo_stream_cancel(s);
	return e;
}

enum err repo_stream_add(struct repo_stream *s, const void *bytes, size_t n)
{
	const char *p = bytes;

	if (s->failed)
		return err_set(ERR_FAILED, "the object is broken by an earlier failure");
	if (n > s->size - s->got) {
		s->failed = true;
		return err_set(ERR_STALE, "the file grew while it was read");
	}
	s->got += n;
	while (n > 0) {
		size_t now = n < PIECE ? n : PIECE;
		int got = git_odb_stream_write(s->hash, p, now);
		if (got != 0) {
			s->failed = true;
			/* our own sentence is there already if the write failed */
			return got == GIT_EUSER ? ERR_FAILED : git_failed(ERR_FAILED, "cannot hash an object");
		}
		p += now;
		n -= now;
	}
	return ERR_OK;
}

enum err repo_stream_end(struct repo_stream *s, struct blob_id *id)
{
	git_oid oid;
	enum err e = ERR_OK;

	if (s->failed)
		e = err_set(ERR_FAILED, "the object is broken by an earlier failure");
	else if (s->got != s->size)
		e = err_set(ERR_STALE, "the file shrank while it was read");
	if (!e && git_odb_stream_finalize_write(&oid, s->hash) != 0)
		e = git_failed(ERR_FAILED, "cannot hash an object");
	if (!e)
		e = deflate_some(s, NULL, 0, Z_FINISH);
	if (!e) {
		memcpy(id->b, oid.id, BLOB_ID_SIZE);
		if (!object_known(pack_repo(s->p), id)) {
			pack_add_loose(s->p, id, s->name);
			s->name = NULL;
		}
	}
	repo_stream_cancel(s);
	return e;
}

void repo_stream_cancel(struct repo_stream *s)
{
	if (!s)
		return;
	git_odb_stream_free(s->hash);
	git_odb_free(s->odb);
	if (s->z_open)
		deflateEnd(&s->z);
	if (s->fd >= 0)
		sys_close(s->fd);
	if (s->name) {
		sys_unlink(pack_tmp_dir(s->p), s->name, 0);
		free(s->name);
	}
	free(s);
}
