/*
 * Any bytes as a configuration file, without looking at the directories that it names: refused with a sentence that names
 * the file, or read, and then equal to itself.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "conf/conf.h"

static void differs(void *arg, const char *option, bool reload)
{
	(void)arg;
	(void)option;
	(void)reload;
	abort();
}

static const char *place(void)
{
	static char name[] = "/dev/shm/drydock-conf-fuzz-XXXXXX";
	static bool made;
	int fd;

	if (!made) {
		fd = mkstemp(name);
		if (fd < 0)
			abort();
		(void)close(fd);
		made = true;
	}
	return name;
}

static void take_away(void)
{
	(void)unlink(place());
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool begun;
	const char *name = place();
	struct conf *c = NULL, *again = NULL;

	if (!begun)
		(void)atexit(take_away);
	begun = true;
	if (file_write_fast(AT_FDCWD, name, data, size, 0600))
		abort();
	if (conf_load_unchecked(&c, name)) {
		if (!strstr(err_text(), "/dev/shm/"))
			abort();
		return 0;
	}
	if (conf_load_unchecked(&again, name))
		abort();
	conf_compare(c, again, differs, NULL);
	conf_free(c);
	conf_free(again);
	return 0;
}
