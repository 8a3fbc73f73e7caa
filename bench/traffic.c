/* traffic CPU SECONDS PORT NAME=CLIENT_NAMESPACE,SERVER_NAMESPACE,ADDRESS...
 *
 * What a TCP request costs over each of several paths, side by side. One thread plays client and server, on one CPU: all
 * that the kernel does for a packet, the receiver's share in softirq included, then happens within the system call that
 * sent it, and the time of a batch is its CPU time. A batch in which the thread had to wait or was preempted is thrown
 * away. Paths take turns after every batch of some 400 us, so whatever disturbs the machine disturbs all alike.
 *
 * Prints a line for each workload and path: workload, name, median ns of an operation, batches kept, batches thrown away.
 * Workloads: rr, a byte there and a byte back; bulk, a KiB; crr, connect, a byte there and back, close.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PATHS 8
#define SAMPLES 65536
#define CHUNK (128 << 10)
#define FEWEST 25   /* batches that a median needs; on a busy machine they take longer to come by */
#define PATIENCE 20 /* times the seconds asked for */

struct path {
	const char *name;
	int client_namespace, listener, client, server;
	struct sockaddr_in address;
	double samples[SAMPLES];
	int kept, dropped;
};

static struct path paths[PATHS];
static char buffer[2 * CHUNK];

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static int checked(int result, const char *what)
{
	if (result < 0)
		fail(what);
	return result;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

static long switches(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_nvcsw + usage.ru_nivcsw;
}

static void enter(int namespace)
{
	checked(setns(namespace, CLONE_NEWNET), "setns");
}

static void set(int socket, int level, int option, int value)
{
	checked(setsockopt(socket, level, option, &value, sizeof(value)), "setsockopt");
}

static void move_byte(int from, int to)
{
	char byte = 'x';

	if (write(from, &byte, 1) != 1 || read(to, &byte, 1) != 1)
		fail("a byte");
}

static void connect_pair(struct path *path, int *client, int *server)
{
	*client = checked(socket(AF_INET, SOCK_STREAM, 0), "socket");
	checked(connect(*client, (void *)&path->address, sizeof(path->address)), "connect");
	*server = checked(accept(path->listener, NULL, NULL), "accept");
	set(*client, IPPROTO_TCP, TCP_NODELAY, 1);
	set(*server, IPPROTO_TCP, TCP_NODELAY, 1);
}

static void open_path(struct path *path, char *description, int port)
{
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(port) };
	char *client, *server, *address;
	int namespace;

	path->name = strsep(&description, "=");
	client = strsep(&description, ",");
	server = strsep(&description, ",");
	address = description;
	path->address = any;
	if (!address || inet_pton(AF_INET, address, &path->address.sin_addr) != 1) {
		fprintf(stderr, "%s: not NAME=NAMESPACE,NAMESPACE,ADDRESS\n", path->name);
		exit(2);
	}
	namespace = checked(open(server, O_RDONLY), server);
	enter(namespace);
	close(namespace);
	path->listener = checked(socket(AF_INET, SOCK_STREAM, 0), "socket");
	set(path->listener, SOL_SOCKET, SO_REUSEADDR, 1);
	/* Several paths end in one namespace: each has its address. */
	any.sin_addr = path->address.sin_addr;
	checked(bind(path->listener, (void *)&any, sizeof(any)), "bind");
	checked(listen(path->listener, 16), "listen");
	path->client_namespace = checked(open(client, O_RDONLY), client);
	enter(path->client_namespace);
	connect_pair(path, &path->client, &path->server);
}

/* Each returns how many operations it has done. */
typedef double workload(struct path *path);

static double request_response(struct path *path)
{
	for (int i = 0; i < 30; i++) {
		move_byte(path->client, path->server);
		move_byte(path->server, path->client);
	}
	return 30;
}

static double bulk(struct path *path)
{
	double bytes = 0;
	ssize_t length;

	for (int i = 0; i < 15; i++) {
		if (send(path->client, buffer, CHUNK, MSG_DONTWAIT) < 0 && errno != EAGAIN)
			fail("send");
		while ((length = recv(path->server, buffer, sizeof(buffer), MSG_DONTWAIT)) > 0)
			bytes += length;
	}
	return bytes / 1024;
}

static double connect_request_response(struct path *path)
{
	int client, server;

	for (int i = 0; i < 6; i++) {
		connect_pair(path, &client, &server);
		move_byte(client, server);
		move_byte(server, client);
		close(client);
		close(server);
	}
	return 6;
}

static void measure(struct path *path, workload *work)
{
	double began, took, operations;
	long before;

	enter(path->client_namespace);
	work(path); /* brings this path's code and data into the caches */
	before = switches();
	began = now();
	operations = work(path);
	took = now() - began;
	if (operations > 0 && switches() == before && path->kept < SAMPLES)
		path->samples[path->kept++] = took / operations;
	else
		path->dropped++;
}

static bool enough(int count)
{
	for (int i = 0; i < count; i++)
		if (paths[i].kept < FEWEST)
			return false;
	return true;
}

static int ascending(const void *one, const void *other)
{
	double difference = *(const double *)one - *(const double *)other;

	return (difference > 0) - (difference < 0);
}

int main(int count, char **words)
{
	static const struct {
		const char *name;
		workload *work;
	} workloads[] = { { "rr", request_response },
			  { "bulk", bulk },
			  { "crr", connect_request_response } };
	cpu_set_t one;
	double seconds;
	int port;

	if (count < 5 || count - 4 > PATHS)
		return 2;
	CPU_ZERO(&one);
	CPU_SET(atoi(words[1]), &one);
	checked(sched_setaffinity(0, sizeof(one), &one), "sched_setaffinity");
	seconds = atof(words[2]);
	port = atoi(words[3]);
	count -= 4;
	for (int i = 0; i < count; i++)
		open_path(&paths[i], words[4 + i], port);
	for (int kind = 0; kind < 3; kind++) {
		double began = now();

		for (int i = 0; i < count; i++)
			paths[i].kept = paths[i].dropped = 0;
		for (int turn = 0; now() - began < seconds * 1e9 || !enough(count); turn++) {
			if (now() - began > PATIENCE * seconds * 1e9) {
				fprintf(stderr, "the machine is too busy to measure\n");
				return 1;
			}
			for (int i = 0; i < count; i++)
				measure(&paths[(turn + i) % count], workloads[kind].work);
		}
		for (int i = 0; i < count; i++) {
			struct path *path = &paths[i];

			qsort(path->samples, path->kept, sizeof(double), ascending);
			printf("%s %s %.1f %d %d\n", workloads[kind].name, path->name,
			       path->kept ? path->samples[path->kept / 2] : 0, path->kept,
			       path->dropped);
		}
	}
	return 0;
}
