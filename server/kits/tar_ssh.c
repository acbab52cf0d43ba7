/* tar-ssh: the kit that takes a release to drydock-receive over ssh, as one tar stream. */
#include <stddef.h>

#include "kits/deliver.h"

int main(int argc, char **argv)
{
	return deliver_main(argc, argv, NULL);
}
