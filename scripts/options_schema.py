"""Write settings of option files as a JSON schema, for editors."""

from collections.abc import Mapping
from typing import Any

from option_settings import (
    LOSSES,
    METRICS,
    NETWORKS,
    constructed,
    data_set,
    metric,
    network,
    path_settings,
)

from hmaca_arch.config import dataset_schema, schema
from hmaca_arch.config.kinds import Kind

PLACEHOLDER = {'type': 'string', 'pattern': r'^\{(data|protocol|paste)\}$'}


def of_kind(kind: Kind) -> dict[str, Any]:
    """Return a setting; where it is a text out of several, it may be a placeholder too."""
    description = {'description': kind.meaning} if kind.meaning else {}
    rule = dict(kind.json)
    if any(isinstance(value, str) for value in rule.get('enum', ())):
        rule = {'anyOf': [rule, PLACEHOLDER]}
    return {**rule, **description}


def section(settings: Mapping[str, Kind], **inside: Any) -> dict[str, Any]:
    """Return a section. `inside` holds rules that replace those of the settings' kinds."""
    properties = {key: of_kind(kind) for key, kind in settings.items()}
    for key, value in inside.items():
        properties[key] = {**properties.get(key, {}), **value}
    return {'type': 'object', 'properties': properties, 'additionalProperties': False}


def optional(rule: Mapping[str, Any]) -> dict[str, Any]:
    """Return a section that may be null."""
    return {**rule, 'type': ['object', 'null']}


def typed(known: Mapping[str, Mapping[str, Kind]]) -> dict[str, Any]:
    """Return a section whose `type` decides its settings; unknown types are not checked."""
    type_setting = {'type': schema.NETWORK_OWN['type']._replace(meaning='')}
    rules = [
        {
            'if': {'properties': {'type': {'const': name}}, 'required': ['type']},
            'then': section(type_setting | dict(settings)),
        }
        for name, settings in known.items()
    ]
    return {'type': ['object', 'null'], 'properties': {'type': {'type': 'string'}}, 'allOf': rules}


def json_schema() -> dict[str, Any]:
    """Return the schema of option files of this project's model, which need not be complete."""
    own = {key: kind for key, kind in schema.NETWORK_OWN.items() if key != 'type'}
    losses = typed({name: constructed(loss, 'train') for name, loss in LOSSES.items()})
    data = typed({name: data_set(name) for name in dataset_schema.DATASETS})
    metrics = typed({name: metric(name) for name in METRICS})
    metrics = {'type': ['object', 'null'], 'additionalProperties': metrics}
    inside = {
        'datasets': {
            'patternProperties': {'^(train|val|test)(_.*)?$': data},
            'additionalProperties': False,
        },
        'network_g': typed({name: {**own, **network(name)} for name in NETWORKS}),
        'path': section(path_settings()),
        'train': section(schema.TRAIN | schema.TRAIN_OWN, pixel_opt=losses, perceptual_opt=losses),
        'val': optional(section(schema.VAL | schema.VAL_OWN, metrics=metrics)),
        'logger': section(schema.LOGGER | schema.LOGGER_OWN, wandb=optional(section(schema.WANDB))),
        'dist_params': optional(section(schema.DIST_PARAMS)),
    }
    whole = section(schema.FILE | schema.TOP, **inside)
    for key in inside:  # replaced by the rules above
        whole['properties'][key].pop('anyOf', None)
    return {
        '$schema': 'http://json-schema.org/draft-07/schema#',
        'title': 'Option file of hmaca',
        **whole,
    }
