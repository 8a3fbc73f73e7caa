/* sprint ADDRESS PORT FROM COUNT: the first thing it does is to send, then once a millisecond: COUNT datagrams "FROM n"
 * from source port FROM. Stays afterwards, so that the container can be looked at. Static: nothing happens before main. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET }, from = { .sin_family = AF_INET };
	char text[64];
	int sender = socket(AF_INET, SOCK_DGRAM, 0);

	if (argc != 5)
		return 2;
	inet_pton(AF_INET, argv[1], &to.sin_addr);
	to.sin_port = htons(atoi(argv[2]));
	from.sin_port = htons(atoi(argv[3]));
	if (bind(sender, (struct sockaddr *)&from, sizeof(from)))
		perror("bind");
	for (int n = 0; n < atoi(argv[4]); n++) {
		snprintf(text, sizeof(text), "%s %d\n", argv[3], n);
		if (sendto(sender, text, strlen(text), 0, (struct sockaddr *)&to, sizeof(to)) < 0)
			perror("send");
		usleep(1000);
	}
	puts("sent");
	fflush(stdout);
	pause();
	return 0;
}
