/*
 * demo: a plain listener that shows a directory, so that one can watch a page go live on the same machine. Loopback
 * only, reading only, nothing of DryDock behind it. The directory may be a symbolic link that is switched: it is opened
 * for each request; below it nothing leads out.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/utf8.h"
#include "web/life.h"
#include "web/mime.h"

struct demo {
	struct MHD_Daemon *daemon;
	const char *directory;
	int fd;
};

static const char SEEN;

static enum MHD_Result reply(struct MHD_Connection *c, unsigned status, struct MHD_Response *m)
{
	MHD_add_response_header(m, "X-Content-Type-Options", "nosniff");
	MHD_add_response_header(m, "Cache-Control", "no-cache");
	enum MHD_Result ok = MHD_queue_response(c, status, m);
	MHD_destroy_response(m);
	return ok;
}

static enum MHD_Result reply_text(struct MHD_Connection *c, unsigned status, const char *text, const char *location)
{
	struct MHD_Response *m = MHD_create_response_from_buffer(strlen(text), (void *)text, MHD_RESPMEM_MUST_COPY);

	if (!m)
		return MHD_NO;
	MHD_add_response_header(m, "Content-Type", "text/plain; charset=utf-8");
	if (location)
		MHD_add_response_header(m, "Location", location);
	return reply(c, status, m);
}

static int open_beneath(int dir, const char *name)
{
	struct open_how how = {
		.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};

	return (int)syscall(SYS_openat2, dir, name[0] ? name : ".", &how, sizeof(how));
}

static enum MHD_Result reply_file(struct MHD_Connection *c, const char *name, int fd, const struct stat *st)
{
	struct MHD_Response *m;
	char modified[40];
	struct tm tm;
	const char *since = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "If-Modified-Since");

	if (!gmtime_r(&st->st_mtime, &tm) || !strftime(modified, sizeof(modified), "%a, %d %b %Y %H:%M:%S GMT", &tm)) {
		close(fd);
		return MHD_NO;
	}
	bool same = since && strcmp(since, modified) == 0;
	if (same) {
		close(fd);
		m = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
	} else {
		m = MHD_create_response_from_fd64((uint64_t)st->st_size, fd);
		if (!m)
			close(fd);
	}
	if (!m)
		return MHD_NO;
	if (!same)
		MHD_add_response_header(m, "Content-Type", mime_type(name));
	MHD_add_response_header(m, "Last-Modified", modified);
	return reply(c, same ? 304 : 200, m);
}

/* The target, decoded, without its first slash. */
static bool name_of(char *out, size_t size, const char *url)
{
	size_t n;

	if (url[0] != '/' || strlen(url) >= size || !percent_decode(out, &n, url + 1, strlen(url) - 1, false) || !utf8_clean(out, n, false))
		return false;
	out[n] = '\0';
	return out[0] != '/';
}

static enum MHD_Result handle(void *cls, struct MHD_Connection *c, const char *url, const char *method, const char *version,
    const char *upload, size_t *upload_size, void **con_cls)
{
	struct demo *d = cls;
	char name[GUARD_TARGET + 16], location[GUARD_TARGET + 2];
	struct stat st;

	(void)version;
	(void)upload;
	if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
		return reply_text(c, 405, "Only GET and HEAD.\n", NULL);
	if (!*con_cls) {
		*con_cls = (void *)&SEEN;
		return MHD_YES;
	}
	if (*upload_size)
		return MHD_NO;
	if (!name_of(name, GUARD_TARGET, url))
		return reply_text(c, 400, "This address cannot be understood.\n", NULL);
	int dir = open(d->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return reply_text(c, 404, "Nothing has been published yet.\n", NULL);
	size_t n = strlen(name);
	if (n == 0 || name[n - 1] == '/')
		memcpy(name + n, "index.html", 11);
	int fd = open_beneath(dir, name);
	close(dir);
	if (fd < 0)
		return reply_text(c, 404, "There is no such file.\n", NULL);
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		return reply_file(c, name, fd, &st);
	close(fd);
	if (!S_ISDIR(st.st_mode))
		return reply_text(c, 404, "There is no such file.\n", NULL);
	snprintf(location, sizeof(location), "%s/", url);
	return reply_text(c, 301, "", location);
}

static size_t no_unescape(void *cls, struct MHD_Connection *c, char *s)
{
	(void)cls;
	(void)c;
	return strlen(s);
}

enum err demo_start(struct demo **out, const struct conf *conf)
{
	struct demo *d = mem_alloc(sizeof(*d));
	enum err e;

	*out = NULL;
	d->directory = conf->demo_directory;
	if ((e = listen_tcp("127.0.0.1", conf->demo_port, &d->fd))) {
		free(d);
		return e;
	}
	d->daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL, 0, NULL, NULL, handle, d, MHD_OPTION_LISTEN_SOCKET, d->fd,
	    MHD_OPTION_CONNECTION_LIMIT, 64u, MHD_OPTION_CONNECTION_TIMEOUT, 30u, MHD_OPTION_UNESCAPE_CALLBACK, no_unescape, NULL, MHD_OPTION_END);
	if (!d->daemon) {
		free(d);
		return err_set(ERR_FAILED, "cannot start the listener of the demo");
	}
	*out = d;
	return ERR_OK;
}

void demo_stop(struct demo *d)
{
	if (!d)
		return;
	MHD_stop_daemon(d->daemon); /* closes the socket */
	free(d);
}
