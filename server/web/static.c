/*
 * static: the few files of static/, read at start and kept as finished replies. Asked for with ?v= of the version that
 * is loaded they may be kept for ever; with another one, or none, they are asked for again each time.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/file.h"
#include "base/log.h"
#include "web/life.h"
#include "web/mime.h"
#include "web/serve.h"

#define FILE_LIMIT (1u << 20)
#define FILES_LIMIT 64

struct static_file {
	char *name;
	struct buf bytes;
	char etag[20];
	char hash[17];
	struct MHD_Response *for_ever, *asked, *same;
};

struct statics {
	struct static_file files[FILES_LIMIT];
	size_t n;
	char version[17];
};

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct static_file *)a)->name, ((const struct static_file *)b)->name);
}

static enum err load(struct statics *s, int dir)
{
	DIR *d = fdopendir(dir);
	struct dirent *e;
	enum err err = ERR_OK;

	if (!d) {
		close(dir);
		return err_sys(ERR_FAILED, "static files");
	}
	while (!err && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		if (s->n == FILES_LIMIT) {
			err = err_set(ERR_INPUT, "more than %d static files", FILES_LIMIT);
			break;
		}
		struct static_file *f = &s->files[s->n];
		f->bytes = BUF_INIT(FILE_LIMIT);
		err = file_read(dirfd(d), e->d_name, &f->bytes);
		if (err) {
			buf_release(&f->bytes);
			err = err_prefix(err, "static file %s", e->d_name);
			break;
		}
		f->name = mem_dup(e->d_name);
		s->n++;
	}
	closedir(d);
	return err;
}

static enum err response(struct MHD_Response **out, const struct web *w, const struct static_file *f, const char *cache, bool body)
{
	struct MHD_Response *m = MHD_create_response_from_buffer(body ? f->bytes.len : 0, body ? f->bytes.p : NULL, MHD_RESPMEM_PERSISTENT);

	*out = m;
	if (!m)
		return err_set(ERR_FAILED, "no memory for a static file");
	bool ok = reply_dress(w, m, cache) && MHD_add_response_header(m, "ETag", f->etag) == MHD_YES;
	if (ok && body)
		ok = MHD_add_response_header(m, "Content-Type", mime_type(f->name)) == MHD_YES;
	return ok ? ERR_OK : err_set(ERR_FAILED, "a header of a static file");
}

enum err statics_load(struct web *w, const char *dir)
{
	struct statics *s = mem_alloc(sizeof(*s));
	struct sha256_stream *all;
	struct sha256 digest;
	enum err e;

	w->statics = s;
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(ERR_INPUT, "static files: %s", dir);
	if ((e = load(s, fd)))
		return e;
	qsort(s->files, s->n, sizeof(s->files[0]), by_name);
	all = sha256_stream_new();
	for (size_t i = 0; i < s->n; i++) {
		struct static_file *f = &s->files[i];
		sha256_of(&digest, buf_text(&f->bytes), f->bytes.len);
		sha256_stream_add(all, digest.b, sizeof(digest.b));
		hex_of(f->hash, digest.b, 8);
		snprintf(f->etag, sizeof(f->etag), "\"%s\"", f->hash);
	}
	sha256_stream_end_free(all, &digest);
	hex_of(s->version, digest.b, 8);
	return ERR_OK;
}

/* After the policy is known. */
enum err statics_dress(struct web *w)
{
	struct statics *s = w->statics;
	enum err e;

	for (size_t i = 0; i < s->n; i++) {
		struct static_file *f = &s->files[i];
		if ((e = response(&f->for_ever, w, f, "public, max-age=31536000, immutable", true)) ||
		    (e = response(&f->asked, w, f, "public, no-cache", true)) || (e = response(&f->same, w, f, "public, no-cache", false)))
			return e;
	}
	return ERR_OK;
}

void statics_free(struct statics *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n; i++) {
		struct static_file *f = &s->files[i];
		struct MHD_Response *all[] = { f->for_ever, f->asked, f->same };
		for (size_t k = 0; k < 3; k++)
			if (all[k])
				MHD_destroy_response(all[k]);
		buf_release(&f->bytes);
		free(f->name);
	}
	free(s);
}

const char *statics_version(const struct statics *s)
{
	return s->version;
}

static const struct static_file *find(const struct statics *s, const char *name)
{
	struct static_file key = { .name = (char *)name };

	return bsearch(&key, s->files, s->n, sizeof(s->files[0]), by_name);
}

static enum err serve(struct req *r, const char *name)
{
	struct life *l = life_of(r);
	const struct static_file *f = find(r->web->statics, name);
	const char *v = req_query(r, "v"), *match = req_header(r, "If-None-Match");

	if (!f)
		return err_set(ERR_NOT_FOUND, "There is no such file.");
	bool same = match && strstr(match, f->etag);
	/* The version of the file or of all of them. */
	bool current = v && (strcmp(v, f->hash) == 0 || strcmp(v, r->web->statics->version) == 0);
	l->shared = same ? f->same : current ? f->for_ever : f->asked;
	reply_bare(l, same ? 304 : 200, NULL, same ? 0 : f->bytes.len);
	return ERR_OK;
}

enum err serve_static(struct req *r)
{
	return serve(r, req_segment(r, "name"));
}

enum err serve_favicon(struct req *r)
{
	return serve(r, "drydock.svg");
}
