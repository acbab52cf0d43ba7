/*
 * The connection that ssh is handed (ssh_config(5), ProxyUseFdpass), so that it sends small packets at once from the first one
 * on. ssh itself asks for that when it has logged in: until then two packets in a row wait for an acknowledgement that the
 * other side holds back, 40 ms in each delivery.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kits/kit.h"

/* Connected, or -1 and errno. */
static int try_one(const struct addrinfo *a)
{
	const int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol), yes = 1;
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	int error = 0;
	socklen_t len = sizeof(error);

	if (fd < 0)
		return -1;
	if (connect(fd, a->ai_addr, a->ai_addrlen) && errno != EINPROGRESS)
		error = errno;
	else if (poll(&p, 1, KIT_CONNECT_SECONDS * 1000) <= 0)
		error = ETIMEDOUT;
	else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len))
		error = errno;
	if (!error && (fcntl(fd, F_SETFL, 0) || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes))))
		error = errno;
	if (!error)
		return fd;
	(void)close(fd);
	errno = error;
	return -1;
}

static bool hand_over(int fd)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { .room = { 0 } };
	char nothing = 0;
	struct iovec v = { .iov_base = &nothing, .iov_len = 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof(control.room) };

	control.head.cmsg_len = CMSG_LEN(sizeof(int));
	control.head.cmsg_level = SOL_SOCKET;
	control.head.cmsg_type = SCM_RIGHTS;
	memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
	return sendmsg(STDOUT_FILENO, &m, 0) == 1;
}

int kit_connect(void)
{
	const char *host = kit_variable("DRYDOCK_HOST"), *port = kit_variable("DRYDOCK_PORT");
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list = NULL;
	const int rc = getaddrinfo(host, port, &hints, &list);
	int fd = -1;

	if (rc) {
		fprintf(stderr, KIT_NO_CONNECTION "%s port %s: %s\n", host, port, gai_strerror(rc));
		return 1;
	}
	for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next)
		fd = try_one(a);
	if (fd < 0)
		fprintf(stderr, KIT_NO_CONNECTION "%s port %s: %s\n", host, port, strerror(errno));
	freeaddrinfo(list);
	return fd < 0 || !hand_over(fd);
}
