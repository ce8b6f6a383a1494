"""One connection to an MQTT broker: publish, and follow its acknowledgements.

The home of the MQTT library. A connection that is lost stays lost; its owner makes another and
publishes again all that was not acknowledged, so that the order is always that of the journal.
"""

from __future__ import annotations

import logging
import socket
import ssl
import threading

from daemon.errors import SettingsError
from daemon.settings.secret_files import SecretFile
from daemon.settings.subscribers import Mqtt

try:
    import paho.mqtt.client as paho
    from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode
except ImportError as missing:
    raise SettingsError(
        "MQTT needs the package paho-mqtt; run `pip install 'tinyast[mqtt]'`"
    ) from missing

log = logging.getLogger(__name__)

ANSWER_S = 10.0  # for the broker to answer a request to connect
IN_FLIGHT = 100  # messages without an acknowledgement, if the broker does not ask for fewer
OVERHEAD = 16  # bytes of a packet besides topic and payload, at most
TAKEN = "Session taken over"  # by another client with this one's id
OWN_ID = "give each bridge a `client_id` in [mqtt], and each daemon a `node`, of its own"
FAILURE = 0x80  # reason codes of MQTT 5 from here on are failures
REFUSALS = (  # that a correction of the settings ends, rather than time
    "Bad user name or password", "Not authorized", "Client identifier not valid", "Banned",
    "Bad authentication method", "Unsupported protocol version",
)  # fmt: skip


class BrokerAway(Exception):
    """The broker cannot be reached, or the connection to it is lost; it may come back."""


class BrokerRefuses(Exception):
    """The broker does not accept this client; the text says how to change that."""


class Broker:
    """A connection. `open` it, and `close` it in the end, after errors too.

    `will`: the topic where the broker publishes `offline`, retained, when the connection is lost.
    """

    def __init__(self, settings: Mqtt, client_id: str, will: str) -> None:
        self._settings, self._name = settings, client_id
        self._place = settings.place
        version = MQTTProtocolVersion.MQTTv5
        if settings.version == "3.1.1":
            version = MQTTProtocolVersion.MQTTv311
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id, protocol=version, reconnect_on_failure=False
        )
        self._client.max_inflight_messages_set(0)  # `window` limits them
        self._client.will_set(will, b"offline", qos=1, retain=True)
        if settings.user or settings.password or settings.password_file:
            self._client.username_pw_set(settings.user, read_password(settings) or None)
        if settings.tls:
            self._client.tls_set_context(tls_context(settings))
        self._client.on_connect = self._connected
        self._client.on_disconnect = self._disconnected
        self._client.on_publish = self._published
        self._client.on_socket_open = _no_delay
        self._changed = threading.Condition()
        # These belong to the condition.
        self._answer: str | None = None  # to the request to connect; "" if it was accepted
        self._lost: str | None = None  # why there is no connection any more
        self._acknowledged: set[int] = set()
        self._refused: tuple[int, str] | None = None  # number of a message, and why
        self._topics: dict[int, str] = {}  # of messages without an acknowledgement
        self.window = IN_FLIGHT
        self._most_bytes: int | None = None  # of a packet
        self.progressed = False  # whether it has acknowledged a message

    # -- in the library's thread ---------------------------------------------------------------

    def _connected(
        self, client: paho.Client, data: object, flags: object, reason: ReasonCode,
        properties: Properties | None,
    ) -> None:  # fmt: skip
        with self._changed:
            self._answer = str(reason) if reason.is_failure else ""
            most = getattr(properties, "ReceiveMaximum", None)
            self.window = min(IN_FLIGHT, most or IN_FLIGHT)
            self._most_bytes = getattr(properties, "MaximumPacketSize", None)
            self._changed.notify_all()

    def _disconnected(
        self, client: paho.Client, data: object, flags: object, reason: ReasonCode,
        properties: Properties | None,
    ) -> None:  # fmt: skip
        with self._changed:
            broke = str(reason) in ("Unspecified error", "Normal disconnection")
            self._lost = self._lost or ("it broke" if broke else str(reason))
            self._changed.notify_all()

    def _published(
        self, client: paho.Client, data: object, mid: int, reason: ReasonCode,
        properties: Properties | None,
    ) -> None:  # fmt: skip
        with self._changed:
            if reason.value >= FAILURE:
                self._refused = self._refused or (mid, str(reason))
                self._lost = self._lost or "the broker refused a message"
            else:
                self._acknowledged.add(mid)
                self.progressed = True
            self._changed.notify_all()

    # -- in the owner's thread -----------------------------------------------------------------

    def open(self) -> None:
        """Connect. Raises BrokerAway or BrokerRefuses."""
        settings = self._settings
        try:
            self._client.connect(settings.host, settings.broker_port, settings.keepalive)
        except ssl.SSLCertVerificationError as error:
            raise BrokerRefuses(
                f"the certificate of the broker at {self._place} is not trusted "
                f"({error.verify_message}); name the file of its authority in `ca_file`, and the "
                "broker in `host` as its certificate does"
            ) from error
        except ssl.SSLError as error:
            raise BrokerRefuses(
                f"no TLS connection to the broker at {self._place} ({error.reason}); is its `port` "
                "one for TLS, and does it accept `cert_file`?"
            ) from error
        except (socket.gaierror, UnicodeError) as error:
            raise BrokerAway(
                f"the broker's name `{settings.host}` is not known: {error}"
            ) from error
        except OSError as error:
            why = error.strerror or error
            raise BrokerAway(f"the broker at {self._place} cannot be reached: {why}") from error
        self._client.loop_start()
        with self._changed:
            answered = self._changed.wait_for(
                lambda: self._answer is not None or self._lost is not None, ANSWER_S
            )
            if self._answer:
                self._explain(self._answer)
            if not answered:
                raise BrokerAway(f"the broker at {self._place} does not answer")
            if self._answer is None:
                raise BrokerAway(
                    f"the broker at {self._place} closed the connection ({self._lost}); "
                    + ("does it ask for a client certificate (`cert_file`)?" if settings.tls
                       else "does it expect TLS (`tls = true`)?")
                )  # fmt: skip

    def _explain(self, answer: str) -> None:
        text = f"the broker at {self._place} refused the connection: {answer}"
        if answer in REFUSALS:
            raise BrokerRefuses(
                f"{text}; correct `user` and `password_file` (or TINYAST_MQTT__PASSWORD), "
                "or `client_id` and `version`, in [mqtt]"
            )
        raise BrokerAway(text)

    def check(self) -> None:
        """Raises BrokerAway if the connection is lost."""
        if self._refused is not None:
            number, why = self._refused
            topic = self._topics.get(number, "a topic")
            raise BrokerAway(
                f"the broker at {self._place} refused a message to {topic}: {why}; does it allow "
                f"this user to publish there?"
            )
        if self._lost is not None:
            text = f"the connection to the broker at {self._place} is lost: {self._lost}"
            if self._lost == TAKEN:
                text += f" by another client with the id {self._name}; {OWN_ID}"
            raise BrokerAway(text)

    def fits(self, topic: str, payload: bytes) -> bool:
        """Whether the broker takes a message of this size."""
        size = OVERHEAD + len(topic.encode()) + len(payload)
        return self._most_bytes is None or size <= self._most_bytes

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> int:
        """Send a message at QoS 1; its number, for `acknowledged`. Raises BrokerAway."""
        self.check()
        info = self._client.publish(topic, payload, 1, retain)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise BrokerAway(f"the connection to the broker at {self._place} is lost")
        self._topics[info.mid] = topic
        return info.mid

    def acknowledged(self, number: int) -> bool:
        """Whether the broker has acknowledged this message; true once."""
        if number in self._acknowledged:
            with self._changed:
                self._acknowledged.remove(number)
            del self._topics[number]
            return True
        return False

    def wait(self, number: int, seconds: float) -> None:
        """Wait until this message is acknowledged, or the connection lost."""
        with self._changed:
            self._changed.wait_for(
                lambda: number in self._acknowledged or self._lost is not None, seconds
            )

    def close(self) -> None:
        """Leave without a will, if there is a connection."""
        self._client.disconnect()
        self._client.loop_stop()


def _no_delay(client: paho.Client, data: object, sock: object) -> None:
    """Send at once. Else the last messages of a window wait 40 ms for those before them."""
    if isinstance(sock, socket.socket):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def read_password(settings: Mqtt) -> str:
    """The password; empty if there is none. Raises SettingsError, StartError."""
    if not settings.password_file:
        return settings.password
    if settings.password:
        raise SettingsError("`mqtt` has both `password` and `password_file`; remove one")
    return password_file(settings).read_line()


def password_file(settings: Mqtt) -> SecretFile:
    """The file that `password_file` names."""
    path = settings.password_file
    return SecretFile(path, "password_file", "[mqtt]", "the password", refuse_open=False)


def tls_context(settings: Mqtt) -> ssl.SSLContext:
    """Certificates as the settings name them. Raises SettingsError."""
    try:
        context = ssl.create_default_context(cafile=settings.ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"`ca_file` {settings.ca_file} of [mqtt] cannot be used: "
            f"{_why(error)}; it is a file of certificates (PEM)"
        ) from error
    if not settings.cert_file:
        return context
    try:
        context.load_cert_chain(
            settings.cert_file, settings.key_file or None, password=_no_password
        )
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"`cert_file` {settings.cert_file} and `key_file` {settings.key_file or '(none)'} of "
            f"[mqtt] cannot be used: {_why(error)}; they are a certificate and its key (PEM), the "
            "key without a password"
        ) from error
    return context


def _no_password() -> str:
    """A key with a password is refused: the prompt of OpenSSL would wait for a terminal."""
    return ""


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "it is not PEM").lower().replace("_", " ")
    return error.strerror or str(error)


def check(settings: Mqtt) -> None:
    """Raises SettingsError if files of [mqtt] are missing or some settings contradict others."""
    if not settings.host:
        raise SettingsError("`mqtt.host` is empty; name the broker")
    if not settings.tls and (settings.ca_file or settings.cert_file or settings.key_file):
        raise SettingsError("`ca_file`, `cert_file` and `key_file` of [mqtt] need `tls = true`")
    if settings.key_file and not settings.cert_file:
        raise SettingsError("`mqtt.key_file` needs `cert_file`")
    password = read_password(settings)
    if password and not settings.user:
        raise SettingsError("[mqtt] has a password but no `user`")
    if settings.tls:
        tls_context(settings)
    elif password and settings.host not in ("localhost", "127.0.0.1", "::1"):
        log.warning("the password goes to the broker %s unencrypted; set `tls`", settings.host)
