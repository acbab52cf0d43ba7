/*
 * drydockd: options, open, run, close. The only file of the server that exits.
 */
#include <stdio.h>

int main(void)
{
	fputs("drydockd: not built yet\n", stderr);
	return 1;
}
