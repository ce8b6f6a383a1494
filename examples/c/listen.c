/* Receive every message of a tinyast daemon, and lose none. Needs libzmq and cJSON.
 *
 *     make && ./listen [--since 0]
 *
 * Prints one line for each message: its seq, a summary, and the path of the sound, with tabs between.
 * docs/messages.md is the contract. The parts that matter here:
 *
 * - Every message is two frames, a topic and a JSON object.
 * - `seq` numbers all messages, and `prev` is the seq of the previous message of the same type.
 *   A `prev` that we have not seen reveals a loss; so does a `last` in the heartbeat beyond our seq.
 * - A second socket sends lost messages again: ask it for everything after the last seq we have.
 * - A heartbeat comes every 5 s. If none comes, the daemon hangs or is gone, or the connection is.
 * - A daemon with keys accepts only clients it knows: both sockets send our key and check its key.
 */

#include <cjson/cJSON.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#define PREFIX "tinyast.v1."
#define ANSWER_MS 5000 /* a running daemon answers far sooner */
#define SILENT_MS 15000 /* three heartbeats */
#define NOTHING (-1)
#define KEY_SIZE 41 /* Z85, with the final zero */

/* All except the heartbeat, which has no seq. */
static const char *const TYPES[] = {"prediction", "file", "event", "gap", "status"};
enum { N_TYPES = sizeof TYPES / sizeof *TYPES };

struct keys {
    bool used;
    char server[KEY_SIZE], public[KEY_SIZE], secret[KEY_SIZE];
};

struct listener {
    void *context;
    struct keys keys;
    const char *replay;    /* endpoint */
    char journal[40];      /* seq counts within one journal; empty before the first answer */
    int64_t seen[N_TYPES]; /* of each type, the newest seq we have had */
    int64_t missing;       /* replay has to give what comes after this seq, or NOTHING */
    int64_t files;         /* end states of files printed so far */
    int64_t count;         /* after how many to stop, or NOTHING */
};

/* `what` holds one %s for `detail`. */
static _Noreturn void fail(const char *what, const char *detail)
{
    fputs("listen: ", stderr);
    fprintf(stderr, what, detail);
    fputc('\n', stderr);
    exit(EXIT_FAILURE);
}

static bool enough(const struct listener *self)
{
    return self->count != NOTHING && self->files >= self->count;
}

/* -- JSON ------------------------------------------------------------------------------------- */

static cJSON *parse(zmq_msg_t *frame)
{
    cJSON *object = cJSON_ParseWithLength(zmq_msg_data(frame), zmq_msg_size(frame));
    if (object == NULL)
        fail("a message is no JSON%s", "");
    return object;
}

static const cJSON *get(const cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

static const char *text(const cJSON *object, const char *name)
{
    const char *value = cJSON_GetStringValue(get(object, name));
    return value == NULL ? "" : value;
}

/* A whole number; a double holds any seq exactly. 0 if it is missing. */
static int64_t whole(const cJSON *object, const char *name)
{
    const cJSON *item = get(object, name);
    return cJSON_IsNumber(item) ? (int64_t)item->valuedouble : 0;
}

/* -- Messages --------------------------------------------------------------------------------- */

static int type_of(const cJSON *message)
{
    for (int type = 0; type < N_TYPES; type++)
        if (strcmp(TYPES[type], text(message, "type")) == 0)
            return type;
    return -1; /* of a later version */
}

/* seq, what it says, path. The path stays JSON, so that no name breaks the line. */
static void print_line(zmq_msg_t *topic, const cJSON *message)
{
    const cJSON *path = get(get(message, "source"), "path");
    char *quoted = path == NULL ? NULL : cJSON_PrintUnformatted(path);

    printf("%" PRId64 "\t", whole(message, "seq"));
    if (strcmp(text(message, "type"), "prediction") == 0) {
        printf("%s %.3f", text(message, "label"), get(message, "score")->valuedouble);
    } else {
        size_t skip = strlen(PREFIX);
        printf("%.*s", (int)(zmq_msg_size(topic) - skip), (char *)zmq_msg_data(topic) + skip);
    }
    printf("\t%s\n", quoted == NULL ? "null" : quoted);
    cJSON_free(quoted);
}

static void begin_at(struct listener *self, int64_t seq)
{
    for (int type = 0; type < N_TYPES; type++)
        self->seen[type] = seq;
    self->missing = seq;
}

/* A heartbeat names the newest message of each type: ask for those we have not had. */
static void take_heartbeat(struct listener *self, const cJSON *message)
{
    for (int type = 0; type < N_TYPES; type++) {
        bool late = whole(get(message, "last"), TYPES[type]) > self->seen[type];
        if (late && (self->missing == NOTHING || self->seen[type] < self->missing))
            self->missing = self->seen[type];
    }
}

/* Print a message unless we had it before; note where it shows that one before it was lost. */
static void take(struct listener *self, zmq_msg_t *topic, zmq_msg_t *body, bool live)
{
    cJSON *message = parse(body);
    int type = type_of(message);

    if (strcmp(text(message, "journal"), self->journal) != 0) {
        self->missing = 0;
    } else if (strcmp(text(message, "type"), "heartbeat") == 0) {
        take_heartbeat(self, message);
    } else if (type >= 0 && whole(message, "seq") > self->seen[type]) {
        if (live && whole(message, "prev") > self->seen[type]) {
            self->missing = self->seen[type];
        } else {
            self->seen[type] = whole(message, "seq");
            self->files += strcmp(TYPES[type], "file") == 0;
            print_line(topic, message);
        }
    }
    cJSON_Delete(message);
}

/* -- Keys ------------------------------------------------------------------------------------- */

/* Find the line `NAME = "KEY"` in a certificate file as `tinyastd keygen` writes it. */
static void read_key(const char *file, const char *name, char key[KEY_SIZE])
{
    char line[256], found[32];
    FILE *in = fopen(file, "r");
    bool done = false;
    if (in == NULL)
        fail("cannot read the key file %s", file);
    while (!done && fgets(line, sizeof line, in) != NULL)
        done = sscanf(line, " %31[a-z-] = \"%40[^\"]\"", found, key) == 2 && strcmp(found, name) == 0;
    fclose(in);
    if (!done || strlen(key) != KEY_SIZE - 1)
        fail("there is no such key as needed in %s", file);
}

static void read_keys(struct keys *keys, const char *server, const char *own)
{
    if (server == NULL && own == NULL)
        return;
    if (server == NULL || own == NULL)
        fail("--server-key and --own-key go together%s", "");
    read_key(server, "public-key", keys->server);
    read_key(own, "public-key", keys->public);
    read_key(own, "secret-key", keys->secret);
    keys->used = true;
}

static void show_keys(void *socket, const struct keys *keys)
{
    if (!keys->used)
        return;
    if (zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, keys->server, KEY_SIZE) != 0 ||
        zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, keys->public, KEY_SIZE) != 0 ||
        zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, keys->secret, KEY_SIZE) != 0)
        fail("these are no keys: %s", zmq_strerror(errno));
}

/* -- Sockets ---------------------------------------------------------------------------------- */

static void receive(void *socket, zmq_msg_t *frame)
{
    if (zmq_msg_recv(frame, socket, 0) < 0)
        fail("cannot receive: %s", zmq_strerror(errno));
}

static void *connect_to(const struct listener *self, int kind, const char *endpoint)
{
    void *socket = zmq_socket(self->context, kind);
    int linger = 0;
    if (socket == NULL)
        fail("cannot make a socket: %s", zmq_strerror(errno));
    zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
    show_keys(socket, &self->keys);
    if (kind == ZMQ_SUB)
        zmq_setsockopt(socket, ZMQ_SUBSCRIBE, PREFIX, strlen(PREFIX));
    if (zmq_connect(socket, endpoint) != 0)
        fail("that is no endpoint: %s", endpoint);
    return socket;
}

/* Ask replay for what comes after `since`, at most `limit`. Gives back the header of its answer;
 * the messages are left to be received from `*socket`, which is the caller's to close. */
static cJSON *ask(struct listener *self, int64_t since, int limit, void **socket)
{
    char request[80];
    int timeout = ANSWER_MS;
    zmq_msg_t frame;

    *socket = connect_to(self, ZMQ_REQ, self->replay);
    zmq_setsockopt(*socket, ZMQ_RCVTIMEO, &timeout, sizeof timeout);
    snprintf(request, sizeof request, "{\"since\": %" PRId64 ", \"limit\": %d}", since, limit);
    zmq_send(*socket, request, strlen(request), 0);

    zmq_msg_init(&frame);
    if (zmq_msg_recv(&frame, *socket, 0) < 0) {
        if (errno == EAGAIN)
            fail("no daemon answers at %s; start one with `tinyastd run`", self->replay);
        fail("cannot receive: %s", zmq_strerror(errno));
    }
    cJSON *header = parse(&frame);
    zmq_msg_close(&frame);
    if (get(header, "error") != NULL)
        fail("the daemon refuses: %s", text(get(header, "error"), "text"));
    return header;
}

/* Wait for the next message published, however long that takes. */
static void wait_for_next(void *subscriber, const char *publish)
{
    zmq_pollitem_t item = {.socket = subscriber, .events = ZMQ_POLLIN};
    for (int found; (found = zmq_poll(&item, 1, SILENT_MS)) <= 0;) {
        if (found < 0 && errno != EINTR)
            fail("cannot wait: %s", zmq_strerror(errno));
        if (found == 0) {
            fputs("listen: nothing is heard of the daemon; connecting again\n", stderr);
            zmq_disconnect(subscriber, publish);
            if (zmq_connect(subscriber, publish) != 0)
                fail("cannot connect again: %s", zmq_strerror(errno));
        }
    }
}

/* Take the topic and body that are next on `socket`; true if more follow in the same message. */
static bool take_pair(struct listener *self, void *socket, bool live)
{
    zmq_msg_t topic, body;
    zmq_msg_init(&topic);
    zmq_msg_init(&body);
    receive(socket, &topic);
    receive(socket, &body);
    take(self, &topic, &body, live);
    bool more = zmq_msg_more(&body);
    zmq_msg_close(&topic);
    zmq_msg_close(&body);
    return more;
}

/* One page of what is missing; `missing` is then where to go on, or NOTHING. */
static void catch_up(struct listener *self)
{
    void *socket;
    cJSON *header = ask(self, self->missing, 1000, &socket);
    int64_t next = whole(header, "next"), newest = whole(header, "newest");
    bool other = *self->journal && strcmp(self->journal, text(header, "journal")) != 0;

    snprintf(self->journal, sizeof self->journal, "%s", text(header, "journal"));
    if (other || self->missing > newest) {
        begin_at(self, 0); /* the daemon counts anew, so do we */
    } else {
        int more;
        size_t size = sizeof more;
        zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &size);
        while (more && !enough(self))
            more = take_pair(self, socket, false);
        self->missing = next < newest ? next : NOTHING;
        for (int type = 0; type < N_TYPES; type++) /* we have had all up to the newest */
            if (next >= newest && self->seen[type] < newest)
                self->seen[type] = newest;
    }
    cJSON_Delete(header);
    zmq_close(socket);
}

static int64_t newest_seq(struct listener *self)
{
    void *socket;
    cJSON *header = ask(self, 0, 1, &socket);
    int64_t newest = whole(header, "newest");
    cJSON_Delete(header);
    zmq_close(socket);
    return newest;
}

static void listen_from(struct listener *self, const char *publish, int64_t since)
{
    /* Before asking replay, so that nothing falls between the two. */
    void *subscriber = connect_to(self, ZMQ_SUB, publish);

    begin_at(self, since == NOTHING ? newest_seq(self) : since);
    while (!enough(self)) {
        if (self->missing != NOTHING) {
            catch_up(self);
        } else {
            wait_for_next(subscriber, publish);
            take_pair(self, subscriber, true);
        }
    }
    zmq_close(subscriber);
}

static int64_t number(const char *argument)
{
    char *end;
    int64_t value = strtoll(argument, &end, 10);
    if (*argument == '\0' || *end != '\0' || value < 0)
        fail("that is no number: %s", argument);
    return value;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"publish", required_argument, NULL, 'p'},    /* endpoint of live messages */
        {"replay", required_argument, NULL, 'r'},     /* endpoint of older ones */
        {"server-key", required_argument, NULL, 'k'}, /* file of the daemon's public key */
        {"own-key", required_argument, NULL, 'o'},    /* file of our secret key */
        {"since", required_argument, NULL, 's'},      /* begin after this seq; 0 for all stored */
        {"count", required_argument, NULL, 'c'},      /* stop after this many files */
        {NULL, 0, NULL, 0},
    };
    struct listener self = {.replay = "tcp://127.0.0.1:5756", .count = NOTHING};
    const char *publish = "tcp://127.0.0.1:5755", *server_key = NULL, *own_key = NULL;
    int64_t since = NOTHING;

    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'p': publish = optarg; break;
        case 'r': self.replay = optarg; break;
        case 'k': server_key = optarg; break;
        case 'o': own_key = optarg; break;
        case 's': since = number(optarg); break;
        case 'c': self.count = number(optarg); break;
        default: return 2;
        }
    }
    read_keys(&self.keys, server_key, own_key);
    setvbuf(stdout, NULL, _IOLBF, 0);
    self.context = zmq_ctx_new();
    listen_from(&self, publish, since);
    zmq_ctx_term(self.context);
    return EXIT_SUCCESS;
}
