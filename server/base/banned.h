/*
 * banned: calls with a better one of our own. Included last, by -include, in every file but the one home of each.
 */
#ifndef DRYDOCK_BASE_BANNED_H
#define DRYDOCK_BASE_BANNED_H

#ifndef DRYDOCK_ALLOW_BANNED
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
/* macros of the C library where the compiler is clang */
#undef sprintf
#undef vsprintf
#pragma GCC poison strcpy strcat sprintf vsprintf strtok gmtime localtime system popen
#endif

#endif
