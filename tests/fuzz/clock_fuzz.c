/*
 * Any text as a time. What the strict form accepts is what clock_text writes; what people type gives a time of the years
 * that can be written.
 */
#include "base/clock.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = mem_dupn((const char *)data, size), back[CLOCK_TEXT_SIZE], relative[32];
	int64_t t, same;

	if (clock_parse(&t, text) == ERR_OK) {
		clock_text(t, back);
		if (strcmp(back, text) != 0 || clock_parse_loose(&same, text) || same != t)
			abort();
	}
	if (clock_parse_loose(&t, text) == ERR_OK) {
		clock_text(t, back);
		if (clock_parse(&same, back) || same != t)
			abort();
		clock_relative(t, 0, relative);
	}
	free(text);
	return 0;
}
