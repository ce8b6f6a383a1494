"""A camera by GStreamer's RTSP server, for a Python that has its bindings (Debian's own).

`python gst_rtsp.py PORT WAV USER PASSWORD`: /audio plays the file to each client from its start.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 - versions go first

ROLE = "watcher"
PLAYED = "filesrc location={} ! wavparse ! audioconvert ! rtpL16pay pt=97 name=pay0"


def main(port: str, path: str, user: str, password: str) -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(f"( {PLAYED.format(path)} )")
    permissions = GstRtspServer.RTSPPermissions()
    for each in ("media.factory.access", "media.factory.construct"):
        permissions.add_permission_for_role(ROLE, each, True)
    factory.set_permissions(permissions)
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", ROLE)
    auth = GstRtspServer.RTSPAuth()
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    server.get_mount_points().add_factory("/audio", factory)
    server.attach(None)
    print("listening", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main(*sys.argv[1:])
