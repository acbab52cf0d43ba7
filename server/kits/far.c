#include "kits/far.h"

#include <stdio.h>

void far_begin(struct far *f, uint64_t total)
{
	*f = (struct far){ .total = total, .told = time(NULL) };
}

void far_more(struct far *f, uint64_t files)
{
	const time_t now = time(NULL);

	f->done += files;
	if (f->total && f->done > f->total)
		f->done = f->total;
	if (!f->told || now == f->told)
		return;
	f->told = now;
	printf("{\"done\":%llu", (unsigned long long)f->done);
	if (f->total)
		printf(",\"total\":%llu", (unsigned long long)f->total);
	puts("}");
	(void)fflush(stdout);
}
