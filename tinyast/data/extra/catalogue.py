"""Debian packages (release 12) with sounds of no kind under free licences.

Each licence is that of the sounds as the package's copyright file states it. One package lies in
one split, except that tuxpaint's animals and its speakers of two languages are told apart.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Package:
    """Which files of a package become clips.

    `only` and `without` are regular expressions over paths, `clips` the most that are taken of the
    package, `cuts` of one file.
    """

    name: str
    group: str
    licence: str
    clips: int
    split: str = "train"
    only: str = ""
    without: str = ""
    cuts: int = 3


SOUND_FONTS = {
    "timgm6mb-soundfont": "usr/share/sounds/sf2/TimGM6mb.sf2",
    "fluidr3mono-gm-soundfont": "usr/share/fluidr3mono-gm-soundfont/FluidR3Mono_GM.sf3",
}
"""Packages that bring instruments (GPL-2 and MIT), and the file in them."""

_NO_VOICE = r"silence|beep|monkeys|weasels|tones?/"
_SPEECH = (
    Package("asterisk-core-sounds-en-wav", "speech", "CC-BY-SA-3.0", 60, without=_NO_VOICE),
    Package("asterisk-core-sounds-fr-wav", "speech", "CC-BY-SA-3.0", 60, without=_NO_VOICE),
    Package("asterisk-core-sounds-ru-wav", "speech", "CC-BY-SA-3.0", 60, without=_NO_VOICE),
    Package("asterisk-core-sounds-it-wav", "speech", "CC-BY-SA-3.0", 50, "val", without=_NO_VOICE),
    Package("alsa-utils", "speech", "GPL-2", 8, without="Noise"),
    Package("pocketsphinx-testdata", "speech", "BSD-2-Clause", 10),
    Package(
        "tuxpaint-stamps-default", "speech", "GPL-2", 150, only=r"_desc_(bg|ca|da|el|fr|ro|ru)"
    ),
    Package("tuxpaint-stamps-default", "speech", "GPL-2", 40, "val", only=r"_desc_(es|be)"),
    Package("ktuberling-data", "speech", "GPL-2+", 120, only=r"/(ca|de|en|fr|lt|nn|ru|sl|uk|wa)/"),
    Package("klettres-data", "speech", "GPL-2+", 40, "val", only="/syllab/"),
)
_MUSIC = (
    Package("openttd-openmsx", "music", "GPL-2", 62, cuts=2),
    Package("asterisk-moh-opsound-wav", "music", "CC-BY-SA-3.0", 20, cuts=5),
    Package("tumiki-fighters-data", "music", "BSD-2-Clause", 18, only="ogg$"),
    Package("torus-trooper-data", "music", "BSD-2-Clause", 12, only="ogg$"),
    Package("wesnoth-1.16-music", "music", "GPL-2+", 82, without="silence", cuts=2),
    Package("pushover-data", "music", "GPL-3+", 30),
    Package("extremetuxracer-data", "music", "GPL-2+", 24, only="ogg$"),
    Package("zaz-data", "music", "CC-BY-SA-3.0", 12, only=r"mus\d"),
    Package("asc-music", "music", "GPL-2+", 12, cuts=4),
    Package("neverball-common", "music", "GPL-2+", 24, only="bgm/"),
    Package("lincity-ng-data", "music", "GPL-2+", 9, only="music/"),
    Package("lmms-common", "music", "GPL-2+", 90, without="effects/|misc/|bell|clap|waveforms"),
    Package("hydrogen-data", "music", "GPL-2+", 40, without="[Bb]ell|[Cc]lap|[Ss]tick|click|empty"),
    Package("frozen-bubble-data", "music", "GPL-2", 12, "val", only="zik", cuts=4),
    Package("xmoto-data", "music", "GPL-2+", 28, "val", without="batcave", cuts=4),
    Package("enigma-data", "music", "GPL-2", 30, "val", only="music/", without="swamp|water"),
    Package(
        "sonic-pi-samples", "music", "CC0-1.0", 60, "val", only="/(loop|bass|tabla|guit|drum|bd)_"
    ),
)
_FREEDESKTOP = "CC-BY-SA-3.0, CC-BY-3.0, GPL-2, GPL-2+"  # by file
_LOMIRI = "CC-BY-SA-3.0, CC-BY-4.0, CC-BY-3.0, CC0-1.0"
_INTERFACE = (
    Package("sound-theme-freedesktop", "interface", _FREEDESKTOP, 30, without="phone"),
    Package("lomiri-sounds", "interface", _LOMIRI, 40, without="[Ww]ind"),
    Package("psi-plus-sounds", "interface", "GPL-2+", 20),
    Package("pidgin-data", "interface", "GPL-2+", 5),
    Package("eiskaltdcpp-sounds", "interface", "GPL-3+", 8),
    Package("deepin-sound-theme", "interface", "GPL-3", 21),
    Package("jami-daemon", "interface", "GPL-3+", 20, cuts=2),
    Package("sound-icons", "interface", "GPL-2+", 32),
    Package("kanagram", "interface", "GPL-2+", 2, only="ogg$"),
    Package("khangman", "interface", "GPL-2+", 4, only="ogg$"),
    Package("oxygen-sounds", "interface", "LGPL-3+", 50, "val", without="Phone"),
)
_EFFECTS = (
    Package("heroes-sound-effects", "effect", "GPL-2+", 30, without="foule|claxon"),
    Package("lbreakout2-data", "effect", "GPL-2+", 36, without="expl?[_.]"),
    Package("neverball-common", "effect", "GPL-2+", 40, only="snd/", without="to[ck]+"),
    Package(
        "tumiki-fighters-data", "effect", "BSD-2-Clause", 8, only="wav$", without="destroy|prop"
    ),
    Package("torus-trooper-data", "effect", "BSD-2-Clause", 8, only="wav$", without="dest"),
    Package("zaz-data", "effect", "GPL-3+", 12, without=r"mus\d"),
    Package("bzflag-data", "effect", "LGPL-2.1", 24, without="steamroller|missile|flap"),
    Package("kapman", "effect", "GPL-2+", 7),
    Package("kbounce", "effect", "GPL-2+", 6),
    Package("kolf", "effect", "GPL-2+", 8, without="puddle"),
    Package("pingus-data", "effect", "GPL-2+", 9, without="plop"),
    Package("holotz-castle-data", "effect", "GPL-2+", 11),
    Package("tecnoballz-data", "effect", "GPL-3+", 20, without="explo|alarm"),
    Package("pathological", "effect", "GPL-2+", 15, "val", only="wav$"),
    Package("solarwolf", "effect", "LGPL-2.1", 14, "val", only="wav$"),
)
_ANIMALS = (
    Package(
        *("tuxpaint-stamps-default", "animal", "GPL-2", 60),
        only=r"/animals/(mammals|birds|marsupials|lizards)/(?!.*_desc)",
        without=r"insect|dogs/dog|goat|ram\.|bull|cow|bison|sheep|blackbird|lark|cuckoo|quetzal",
    ),
    Package("scorched3d-data", "animal", "GPL-2+", 9, "val", only="gull|bats|wolf"),
)
REJECTED = frozenset(
    {
        "asterisk/sounds/fr_CA_f_June/confbridge-leave.wav",
        "asterisk/sounds/fr_CA_f_June/descending-2tone.wav",
        "asterisk/sounds/en_US_f_Allison/ascending-2tone.wav",
        "games/bzflag/flag_alert.wav",
        "games/bzflag/flag_won.wav",
        "games/bzflag/killteam.wav",
        "games/bzflag/lock.wav",
        "games/bzflag/teamgrab.wav",
        "games/bzflag/teleport.wav",
        "games/heroes/sfx/mort_b2.wav",
        "games/heroes/sfx/sleep.wav",
        "games/pathological/sounds/levelfinish.wav",
        "games/tecnoballz/sounds/rappar.wav",
        "games/tumiki-fighters/sounds/enemy_damaged.wav",
        "psi-plus/sound/chess_error.wav",
        "psi-plus/sound/chess_move.wav",
        "tuxpaint/stamps/animals/mammals/dogs/fox.ogg",
    }
)
"""Files below usr/share that sound like one of ESC-50's kinds, most of them by YAMNet's scores."""
PACKAGES = (*_SPEECH, *_MUSIC, *_INTERFACE, *_EFFECTS, *_ANIMALS)
