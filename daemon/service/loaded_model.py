"""Load the model that the settings name, and check that they suit each other."""

from __future__ import annotations

import logging

from msgspec import Struct

from daemon.errors import SettingsError, StartError
from daemon.host.trust import check_private_tree
from daemon.pipeline.decision import check_known, check_labels, tuned_for_another
from daemon.protocol.states import RunningModel
from daemon.service.engine_choice import Choice, choose_engine
from daemon.settings.schema import Settings
from daemon.settings.subscribers import mqtt_labels, notify_labels
from tinyast.classifier import Classifier
from tinyast.errors import CheckpointError
from tinyast.inference.engine_names import AUDIOSET

log = logging.getLogger(__name__)


class LoadedModel(Struct, frozen=True):
    """A checkpoint in the engine that was chosen for it."""

    classifier: Classifier
    choice: Choice

    @property
    def described(self) -> RunningModel:
        """The model as the status reply names it."""
        checkpoint, engine = self.classifier.checkpoint, self.classifier.engine
        reason = self.choice.reason
        return RunningModel(checkpoint.name, checkpoint.version, engine.sha256, engine.name, reason)


def load_model(settings: Settings) -> LoadedModel:
    """The checkpoint of `settings`, in the engine that suits this machine.

    Raises SettingsError if `check_suits` does, StartError if it cannot be loaded.
    """
    try:
        if settings.checkpoint_path is not None:
            check_private_tree(settings.checkpoint_path, "the model")
        choice = choose_engine(settings)
        classifier = Classifier.load(settings.checkpoint_path, choice.engine)
    except CheckpointError as error:
        raise StartError(str(error)) from error
    check_suits(settings, classifier)
    if warning := tuned_for_another(settings, classifier.checkpoint.model):
        log.warning("%s", warning)
    return LoadedModel(classifier, choice)


def check_suits(settings: Settings, classifier: Classifier) -> None:
    """Raise SettingsError for labels that the model lacks, or voices that it cannot recognise."""
    _check_labels(settings, classifier)
    _check_privacy(settings, classifier)


def _check_labels(settings: Settings, classifier: Classifier) -> None:
    check_labels(settings.decision, classifier.labels)
    check_known("events.labels", settings.events.labels, classifier.labels)
    for setting, named in (*notify_labels(settings.notify), *mqtt_labels(settings.mqtt)):
        check_known(setting, named, classifier.labels)


def _check_privacy(settings: Settings, classifier: Classifier) -> None:
    """Raise SettingsError if voices are to be recognised, and the model cannot do that."""
    if AUDIOSET in classifier.engine.outputs:
        return
    problem = f"the model {classifier.checkpoint.model} does not recognise voices"
    if settings.privacy.speech not in (None, "keep"):
        raise SettingsError(
            f"{problem}, as `speech = {settings.privacy.speech!r}` in [privacy] needs it to; use a "
            "checkpoint of version 5 or newer"
        )
    if any(each.keep != "none" for each in settings.live):
        log.warning("%s, so sound that holds one is kept", problem)
