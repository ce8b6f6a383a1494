/* Receive every message of a tinyast daemon, and lose none. Needs libzmq and cJSON.
 *
 *     make && ./listen [--since 0]
 *
 * Prints one line for each message: its seq, a summary, and the path of the sound, with tabs between.
 * docs/messages.md is the contract. The parts that matter here:
 *
 * - Every message is two frames, a topic and a JSON object.
 * - `seq` numbers all messages: 1, 2, 3, ... We keep one number, up to which we have had every
 *   message. If the next message is not the one after it, or a heartbeat names a newer one, some
 *   were lost.
 * - A second socket sends lost messages again: ask it for everything after our number. We ask for
 *   the newest message that we have, too: if another is in its place, the daemon's journal was put
 *   back (a restored snapshot, say), and we go back to where the two part.
 * - A daemon with `[pictures] publish = true` also publishes what its model saw of each window: a
 *   PNG in base64. Pictures have no seq, and replay has none. `--picture FILE` saves the next one.
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
#define REMEMBERED 10000 /* messages whose id we keep, in case the journal is put back */
#define ID_SIZE 33 /* with the zero at its end */
#define KEY_SIZE 41 /* Z85, with the final zero */

struct keys {
    bool used;
    char server[KEY_SIZE], public[KEY_SIZE], secret[KEY_SIZE];
};

struct had {
    int64_t seq; /* 0 where there is none */
    char id[ID_SIZE];
};

struct listener {
    void *context;
    struct keys keys;
    const char *replay;          /* endpoint */
    char journal[40];            /* seq counts within one journal; empty before the first answer */
    int64_t position;            /* we have had every message up to this seq */
    bool behind;                 /* whether replay has messages that we have not had */
    struct had had[REMEMBERED];  /* the newest of them; that of `seq` at seq % REMEMBERED */
    int64_t files;               /* end states of files printed so far */
    int64_t count;               /* after how many to stop, or NOTHING */
    const char *picture;         /* file for the next picture; NULL: none is wanted */
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

/* The id of the message `seq` if we have had it and still know; NULL otherwise. */
static const char *known_id(const struct listener *self, int64_t seq)
{
    const struct had *slot = &self->had[seq % REMEMBERED];
    return seq > 0 && slot->seq == seq ? slot->id : NULL;
}

static bool is_known(const struct listener *self, int64_t seq, const cJSON *message)
{
    const char *known = known_id(self, seq);
    return known != NULL && strcmp(known, text(message, "id")) == 0;
}

/* Note a message as had, and print it if it is new. */
static void note(struct listener *self, zmq_msg_t *topic, const cJSON *message, bool is_new)
{
    int64_t seq = whole(message, "seq");
    struct had *slot = &self->had[seq % REMEMBERED];

    slot->seq = seq;
    snprintf(slot->id, sizeof slot->id, "%s", text(message, "id"));
    if (is_new) {
        self->files += strcmp(text(message, "type"), "file") == 0;
        print_line(topic, message);
    }
}

static void begin_at(struct listener *self, int64_t seq)
{
    memset(self->had, 0, sizeof self->had);
    self->position = seq;
    self->behind = true;
}

/* Go on from the oldest message that we know or, if not even that is there, from the start. */
static void go_back(struct listener *self, bool is_other)
{
    int64_t oldest = 0;

    fputs("listen: the daemon's journal is another one or was put back; comparing it with ours\n",
          stderr);
    for (int i = 0; i < REMEMBERED; i++)
        if (self->had[i].seq > 0 && (oldest == 0 || self->had[i].seq < oldest))
            oldest = self->had[i].seq;
    if (is_other || oldest < self->position)
        self->position = oldest;
    else
        begin_at(self, 0);
}

/* A heartbeat names the newest message of each type. */
static void take_heartbeat(struct listener *self, const cJSON *message)
{
    int64_t newest = 0;
    const cJSON *last;

    cJSON_ArrayForEach(last, get(message, "last"))
        if ((int64_t)last->valuedouble > newest)
            newest = (int64_t)last->valuedouble;
    self->behind = newest != self->position || strcmp(text(message, "journal"), self->journal) != 0;
}

/* Save the PNG of a picture: base64, four characters for three bytes. */
static void save_picture(const char *path, const char *base64)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t bits = 0;
    int count = 0;
    FILE *out = fopen(path, "wb");

    if (out == NULL)
        fail("cannot write %s", path);
    for (; *base64 != '\0' && *base64 != '='; base64++) {
        const char *digit = strchr(digits, *base64);
        if (digit == NULL)
            fail("a picture is no base64%s", "");
        bits = bits << 6 | (uint32_t)(digit - digits);
        count += 6;
        if (count >= 8) {
            count -= 8;
            fputc((int)(bits >> count & 0xFF), out);
        }
    }
    if (fclose(out) != 0)
        fail("cannot write %s", path);
}

/* Print a published message if it is the next one; note if replay has to tell. */
static void take_live(struct listener *self, zmq_msg_t *topic, zmq_msg_t *body)
{
    cJSON *message = parse(body);
    int64_t seq = whole(message, "seq");

    if (strcmp(text(message, "type"), "heartbeat") == 0) {
        take_heartbeat(self, message);
    } else if (strcmp(text(message, "type"), "picture") == 0) {
        if (self->picture != NULL)
            save_picture(self->picture, text(message, "png"));
        self->picture = NULL;
    } else if (seq > 0) { /* types added later may have none */
        bool ours = strcmp(text(message, "journal"), self->journal) == 0;
        if (ours && seq == self->position + 1) {
            self->position = seq;
            note(self, topic, message, true);
        } else if (!ours || seq > self->position ||
                   (known_id(self, seq) != NULL && !is_known(self, seq, message))) {
            self->behind = true;
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
 * the messages are left to be received from `*socket`, which is the caller's to close. NULL, and
 * no socket to close, if no answer came. */
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
        if (errno != EAGAIN)
            fail("cannot receive: %s", zmq_strerror(errno));
        zmq_close(*socket);
        return NULL;
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
            fputs("listen: no sign of life from the daemon; connecting again\n", stderr);
            zmq_disconnect(subscriber, publish);
            if (zmq_connect(subscriber, publish) != 0)
                fail("cannot connect again: %s", zmq_strerror(errno));
        }
    }
}

/* Receive the topic and body that are next on `socket`; true if more follow in the same message. */
static bool receive_pair(void *socket, zmq_msg_t *topic, zmq_msg_t *body)
{
    zmq_msg_init(topic);
    zmq_msg_init(body);
    receive(socket, topic);
    receive(socket, body);
    return zmq_msg_more(body);
}

/* Take the messages of an answer; false if the first is not the one that we have at our position. */
static bool take_page(struct listener *self, void *socket, bool compare)
{
    int more;
    size_t size = sizeof more;
    zmq_msg_t topic, body;

    zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &size);
    if (compare && !more)
        return false;
    while (more && !enough(self)) {
        more = receive_pair(socket, &topic, &body);
        cJSON *message = parse(&body);
        int64_t seq = whole(message, "seq");
        bool known = is_known(self, seq, message);
        if (!compare || known)
            note(self, &topic, message, seq > self->position && !known);
        cJSON_Delete(message);
        zmq_msg_close(&topic);
        zmq_msg_close(&body);
        if (compare && !known)
            return false;
        compare = false;
    }
    return true;
}

/* One page of what we have not had. We ask for the message at our position again if we know it. */
static void catch_up(struct listener *self)
{
    void *socket;
    bool compare = known_id(self, self->position) != NULL;
    cJSON *header = ask(self, self->position - compare, 1000, &socket);
    if (header == NULL) {
        fputs("listen: the daemon does not answer; asking again\n", stderr);
        return;
    }
    int64_t next = whole(header, "next"), newest = whole(header, "newest");
    int64_t lost = whole(header, "oldest") - self->position - 1;
    bool other = *self->journal && strcmp(self->journal, text(header, "journal")) != 0;

    snprintf(self->journal, sizeof self->journal, "%s", text(header, "journal"));
    if (other || newest < self->position || !take_page(self, socket, compare && lost < 0)) {
        go_back(self, other);
    } else {
        if (lost > 0)
            fprintf(stderr, "listen: %" PRId64 " messages were lost: they are deleted\n", lost);
        self->position = next;
        self->behind = next < newest;
    }
    cJSON_Delete(header);
    zmq_close(socket);
}

static int64_t newest_seq(struct listener *self)
{
    void *socket;
    cJSON *header = ask(self, 0, 1, &socket);
    if (header == NULL)
        fail("no daemon answers at %s; start one with `tinyastd run`", self->replay);
    int64_t newest = whole(header, "newest");
    cJSON_Delete(header);
    zmq_close(socket);
    return newest;
}

static void listen_from(struct listener *self, const char *publish, int64_t since)
{
    /* Before asking replay, so that no message falls between the two. */
    void *subscriber = connect_to(self, ZMQ_SUB, publish);
    int64_t newest = newest_seq(self);
    zmq_msg_t topic, body;

    begin_at(self, since == NOTHING ? newest : since);
    while (!enough(self)) {
        if (self->behind) {
            catch_up(self);
        } else {
            wait_for_next(subscriber, publish);
            receive_pair(subscriber, &topic, &body);
            take_live(self, &topic, &body);
            zmq_msg_close(&topic);
            zmq_msg_close(&body);
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
        {"picture", required_argument, NULL, 'i'},    /* save the next picture to this file */
        {NULL, 0, NULL, 0},
    };
    static struct listener self = {.replay = "tcp://127.0.0.1:5756", .count = NOTHING};
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
        case 'i': self.picture = optarg; break;
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
