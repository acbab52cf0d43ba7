/*
 * drydockd: options, open, run, close. The only file of the server that exits.
 */
#include <stdio.h>
#include <string.h>

#include "conf/conf.h"

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--sample-config")) {
		conf_sample(stdout);
		return 0;
	}
	if (argc == 2 && !strcmp(argv[1], "--help-config")) {
		conf_help(stdout);
		return 0;
	}
	fputs("drydockd: not built yet\n", stderr);
	return 1;
}
