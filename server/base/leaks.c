/*
 * For builds with AddressSanitizer: a program that is shut in (base/confine.h) goes without the look for leaks.
 *
 * LeakSanitizer reads /proc/PID/task when a program ends. Where the kernel shuts the program out of /proc, it would end
 * with the sanitizer's own error, and a kit that did its work would count as failed.
 */
#include <fcntl.h>
#include <unistd.h>

/* Named and asked by the sanitizer: sanitizer/lsan_interface.h. */
int __lsan_is_turned_off(void) __attribute__((visibility("default")));

int __lsan_is_turned_off(void)
{
	int fd = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return 1;
	(void)close(fd);
	return 0;
}
