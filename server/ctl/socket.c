/*
 * The local socket: one HTTP/1.1 request a connection. A library of a few milliseconds' start-up time would cost more
 * than the whole command (doc/DECISIONS, "The terminal's transport"); https and remote servers go through curl.c.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/sys.h"
#include "ctl/ctl.h"

#define HEAD_LIMIT 65536
#define POUR 262144 /* bytes at a time */

static int connect_to(const char *place)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(place) >= sizeof sa.sun_path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(sa.sun_path, place, strlen(place) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof sa)) {
		const int saved = errno;

		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}

static int send_all(int fd, const char *p, size_t n)
{
	while (n) {
		const ssize_t k = send(fd, p, n, MSG_NOSIGNAL);

		if (k < 0 && errno == EINTR)
			continue;
		/* a server that refuses early closes its side: its answer is there to be read all the same */
		if (k < 0)
			return errno == EPIPE || errno == ECONNRESET ? 0 : -1;
		p += k;
		n -= (size_t)k;
	}
	return 0;
}

/* Value of a header in the head (terminated, case as it comes): NULL if absent. */
static const char *header_value(const char *head, const char *name)
{
	const size_t n = strlen(name);

	for (const char *p = strstr(head, "\r\n"); p; p = strstr(p + 2, "\r\n"))
		if (strncasecmp(p + 2, name, n) == 0 && p[2 + n] == ':')
			return p + 2 + n + 1 + strspn(p + 2 + n + 1, " ");
	return NULL;
}

/* Undo the chunked coding in place; false if it is broken or cut. */
static bool unchunk(struct buf *b)
{
	size_t from = 0, to = 0;

	for (;;) {
		char *end;
		const char *line = b->p + from;
		const size_t size = strtoul(line, &end, 16);

		if (end == line || !(end = strstr(end, "\r\n")))
			return false;
		from = (size_t)(end - b->p) + 2;
		if (size == 0)
			break;
		if (size > b->len - from || b->len - from - size < 2)
			return false;
		memmove(b->p + to, b->p + from, size);
		to += size;
		from += size + 2;
	}
	b->len = to;
	b->p[to] = '\0';
	return true;
}

/* The head is there: the body of a good answer goes to the sink. 1: all of it did; 0: it is for the buffer; -1: it was cut. */
static int pour(struct ctl *c, int fd)
{
	char *end = c->answer.p ? strstr(c->answer.p, "\r\n\r\n") : NULL, *head, *piece;
	const char *length;
	unsigned long long left;
	size_t have;
	int rc = 1;

	if (!end || strncmp(c->answer.p, "HTTP/1.", 7) != 0 || atoi(c->answer.p + 9) != 200)
		return 0;
	head = arena_dupn(c->arena, c->answer.p, (size_t)(end - c->answer.p) + 2);
	length = header_value(head, "Content-Length");
	if (!length)
		return 0;
	c->status = 200;
	left = strtoull(length, NULL, 10);
	have = c->answer.len - (size_t)(end + 4 - c->answer.p);
	if (have > left || sys_write_all(c->sink, end + 4, have))
		return -1;
	piece = arena_alloc(c->arena, POUR);
	for (left -= have; left && rc == 1;) {
		const ssize_t n = read(fd, piece, left < POUR ? (size_t)left : POUR);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || sys_write_all(c->sink, piece, (size_t)n))
			rc = -1;
		else
			left -= (unsigned long long)n;
	}
	c->sunk = true;
	return rc;
}

/* As much as has the whole head, or all. */
static int read_head(struct ctl *c, int fd)
{
	char piece[4096];

	for (;;) {
		const ssize_t n = read(fd, piece, sizeof piece);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -1 : 0;
		buf_add(&c->answer, piece, (size_t)n);
		if (strstr(c->answer.p, "\r\n\r\n") || c->answer.len > HEAD_LIMIT)
			return 0;
	}
}

static bool answer_parse(struct ctl *c)
{
	char *end = c->answer.p ? strstr(c->answer.p, "\r\n\r\n") : NULL;
	const char *length, *coding;
	char *head;
	size_t n;

	if (!end || strncmp(c->answer.p, "HTTP/1.", 7) != 0)
		return false;
	n = (size_t)(end - c->answer.p);
	head = arena_dupn(c->arena, c->answer.p, n + 2);
	c->status = atoi(head + 9);
	c->answer.len -= n + 4;
	memmove(c->answer.p, end + 4, c->answer.len + 1);
	coding = header_value(head, "Transfer-Encoding");
	if (coding && strncasecmp(coding, "chunked", 7) == 0)
		return unchunk(&c->answer);
	length = header_value(head, "Content-Length");
	return !length || strtoull(length, NULL, 10) == c->answer.len;
}

static enum ctl_exit call(struct ctl *c, const char *method, const char *target, const char *body, size_t body_len)
{
	struct buf head = BUF_INIT(HEAD_LIMIT);
	enum ctl_exit rc = EXIT_UNREACHABLE;
	int fd = connect_to(c->place), poured;

	if (fd < 0 && c->quiet)
		return EXIT_UNREACHABLE;
	if (fd < 0) {
		fprintf(stderr, "drydock: no server answers at %s: %s.\n"
		    "Start drydockd, or say where it is with --server, --data, DRYDOCK_SERVER or DRYDOCK_DATA.\n", c->place, strerror(errno));
		return EXIT_UNREACHABLE;
	}
	buf_fmt(&head, "%s /api/v1%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n", method, target);
	if (body)
		buf_fmt(&head, "Content-Type: application/json\r\nContent-Length: %zu\r\n", body_len);
	buf_str(&head, "\r\n");
	buf_reset(&c->answer);
	if (buf_check(&head)) {
		fprintf(stderr, "drydock: the arguments are too long for one request; give a list with --from.\n");
		rc = EXIT_USAGE;
	} else if (send_all(fd, head.p, head.len) || (body && send_all(fd, body, body_len))) {
		if (!c->quiet)
			perror("drydock: sending to the server");
	} else if (c->sink >= 0 && read_head(c, fd) == 0 && (poured = pour(c, fd)) != 0) {
		if (poured > 0)
			rc = EXIT_DONE;
		else
			fprintf(stderr, "drydock: the archive was cut off: %s\n", errno ? strerror(errno) : "the server ended");
	} else if (buf_read_fd(&c->answer, fd)) {
		if (!c->quiet)
			fprintf(stderr, "drydock: reading the server's answer: %s\n", err_text());
	} else if (!answer_parse(c)) {
		if (!c->quiet)
			fprintf(stderr, "drydock: the server ended before its answer was complete. Whether the act was done is not known: "
			    "ask `drydock log`, or repeat it with the same --id.\n");
	} else {
		rc = EXIT_DONE;
	}
	buf_release(&head);
	close(fd);
	return rc;
}

const struct transport transport_socket = { call };
