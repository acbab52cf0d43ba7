/*
 * The ordinary test run of a fuzz harness: each file of its corpus (tests/fuzz/corpus/CORPUS) once, as a TAP test. A
 * crash or a hang of a past input fails the run.
 */
#include <dirent.h>
#include <fcntl.h>

#include "base/file.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(void)
{
	const char *srcdir = getenv("srcdir");
	char *dir = mem_printf("%s/tests/fuzz/corpus/%s", srcdir ? srcdir : DRYDOCK_SRCDIR, CORPUS);
	DIR *d = opendir(dir);
	int n = 0, failed = 0;

	if (!d) {
		fprintf(stderr, "replay: cannot open %s\n", dir);
		return 1;
	}
	for (struct dirent *entry; (entry = readdir(d));) {
		if (entry->d_name[0] == '.')
			continue;
		char *name = mem_printf("%s/%s", dir, entry->d_name);
		struct buf b = BUF_INIT(1u << 20);
		if (file_read(AT_FDCWD, name, &b)) {
			printf("not ok %d - %s: %s\n", ++n, entry->d_name, err_text());
			failed = 1;
		} else {
			LLVMFuzzerTestOneInput((const uint8_t *)buf_text(&b), b.len);
			printf("ok %d - %s\n", ++n, entry->d_name);
		}
		buf_release(&b);
		free(name);
	}
	printf("1..%d\n", n);
	closedir(d);
	free(dir);
	return failed || n == 0;
}
