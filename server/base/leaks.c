/*
 * For builds with AddressSanitizer: a program that is shut in (base/confine.h) goes without the look for leaks.
 *
 * LeakSanitizer reads /proc/PID/task when a program ends, and stops its threads by ptrace. Where the program is shut out of
 * either, it would end with the sanitizer's own error, and a kit that did its work would count as failed.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/ptrace.h>
#include <unistd.h>

/* Named and asked by the sanitizer: sanitizer/lsan_interface.h. */
int __lsan_is_turned_off(void) __attribute__((visibility("default")));

int __lsan_is_turned_off(void)
{
	int fd = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return 1;
	(void)close(fd);
	/* There is no process 0: who may ask is told so. */
	return ptrace(PTRACE_PEEKDATA, 0, NULL, NULL) < 0 && errno == EPERM;
}
