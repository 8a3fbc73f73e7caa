/* Loaded before the C library (LD_PRELOAD): the time of day is as many seconds away from the right one as the file
 * /run/clock says. The clocks that count from a start are what they are, as on any machine whose clock is set. */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long offset(void)
{
	long seconds = 0;
	FILE *file = fopen("/run/clock", "re");

	if (file) {
		if (fscanf(file, "%ld", &seconds) != 1)
			seconds = 0;
		fclose(file);
	}
	return seconds;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	int result = syscall(SYS_clock_gettime, clock, now);

	if (!result && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		now->tv_sec += offset();
	return result;
}

int gettimeofday(struct timeval *now, void *zone)
{
	int result = syscall(SYS_gettimeofday, now, zone);

	if (!result)
		now->tv_sec += offset();
	return result;
}

time_t time(time_t *now)
{
	struct timespec exact;

	clock_gettime(CLOCK_REALTIME, &exact);
	if (now)
		*now = exact.tv_sec;
	return exact.tv_sec;
}
