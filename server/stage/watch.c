#include "stage/watch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/mem.h"

#define EVENTS_SIZE (64 << 10)

struct watch {
	int fd;
	char *events;
};

enum err watch_open(struct watch **out)
{
	*out = NULL;
	int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (fd < 0)
		return err_sys(ERR_FAILED, "inotify");
	struct watch *w = mem_alloc(sizeof *w);
	w->fd = fd;
	w->events = mem_alloc(EVENTS_SIZE);
	*out = w;
	return ERR_OK;
}

void watch_close(struct watch *w)
{
	if (!w)
		return;
	close(w->fd);
	free(w->events);
	free(w);
}

int watch_fd(const struct watch *w)
{
	return w->fd;
}

enum err watch_add(struct watch *w, int dirfd, int *id)
{
	/* By way of the descriptor that the door gave, so that no name is followed a second time. */
	char name[40];
	snprintf(name, sizeof name, "/proc/self/fd/%d", dirfd);
	*id = inotify_add_watch(w->fd, name,
	    IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_CLOSE_WRITE | IN_MODIFY | IN_ATTRIB | IN_DELETE_SELF |
		IN_MOVE_SELF | IN_ONLYDIR | IN_EXCL_UNLINK);
	if (*id >= 0)
		return ERR_OK;
	*id = 0;
	if (errno == ENOSPC)
		return err_set(ERR_TOO_BIG, "the kernel gives no more watches: raise fs.inotify.max_user_watches");
	if (errno == ENOENT || errno == ENOTDIR)
		return err_sys(ERR_NOT_FOUND, "watching a directory");
	return err_sys(ERR_FAILED, "watching a directory");
}

void watch_remove(struct watch *w, int id)
{
	/* Gone already is fine. */
	(void)inotify_rm_watch(w->fd, id);
}

static void tell(const struct inotify_event *e, void (*fn)(void *arg, int id, enum watch_what what), void *arg)
{
	if (e->mask & IN_Q_OVERFLOW)
		fn(arg, 0, WATCH_LOST);
	else if (e->mask & (IN_IGNORED | IN_DELETE_SELF | IN_UNMOUNT))
		fn(arg, e->wd, WATCH_ENDED);
	else if (e->mask & IN_MOVE_SELF)
		fn(arg, e->wd, WATCH_MOVED);
	else if ((e->mask & IN_MODIFY) && !(e->mask & ~(unsigned)(IN_MODIFY | IN_ISDIR)))
		fn(arg, e->wd, WATCH_WRITTEN);
	else
		fn(arg, e->wd, WATCH_CHANGED);
}

bool watch_collect(struct watch *w, void (*fn)(void *arg, int id, enum watch_what what), void *arg)
{
	bool any = false;
	for (;;) {
		ssize_t n = read(w->fd, w->events, EVENTS_SIZE);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return any;
		any = true;
		for (ssize_t at = 0; at < n;) {
			const struct inotify_event *e = (const void *)(w->events + at);
			tell(e, fn, arg);
			at += (ssize_t)(sizeof *e + e->len);
		}
	}
}

bool watch_pending(const struct watch *w)
{
	int n = 0;
	return ioctl(w->fd, FIONREAD, &n) == 0 && n > 0;
}
