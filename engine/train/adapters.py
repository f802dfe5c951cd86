"""Low-rank adapters over a frozen network (Hu et al. 2021), by peft: made, switched, merged, saved and loaded.

peft's layers are put into the network itself, which stays what it was: a model of transformers with all its methods.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.errors import InvalidInput, NotFound
from engine.spec.sections import Lora

DEFAULT = "default"
CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"

_PREFIX = "base_model.model."  # before each name in the files of peft


def with_adapters(
    network: nn.Module, lora: Lora, *, seed: int, name: str = DEFAULT, keep: Sequence[str] = ()
) -> nn.Module:
    """Freeze a network, put an adapter into its linear layers, and return it, changed.

    A new adapter changes nothing that the network computes. Its weights depend on the seed alone: they are the same on
    all ranks and for all ZeRO stages. A network may get several adapters; it computes with the first until
    `using_adapter` says otherwise, and all of them train.

    Arguments:
        network: whole, or partitioned by ZeRO 3; not yet in an engine of DeepSpeed.
        keep: names of modules that train whole, such as a head.

    Raises:
        InvalidInput: if one of `lora.targets` names no linear layer.
    """
    from peft import LoraConfig

    layers = dict(_linear_layers(network))
    there = sorted({path.rpartition(".")[2] for path in layers})
    for target in lora.targets:
        if not any(path == target or path.endswith(f".{target}") for path in layers):
            raise InvalidInput(
                f"model.lora.targets names {target!r}; the linear layers that take an adapter are {', '.join(there)}.",
                where=getattr(network, "name_or_path", None),
            )
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets) or there,
        fan_in_fan_out=any(_is_transposed(layer) for layer in layers.values()),
    )
    _inject(network, config, name, seed)
    for module in keep:
        network.get_submodule(module).requires_grad_()
    return network


def load_adapter(network: nn.Module, folder: Path, *, name: str, trains: bool = False) -> dict[str, Tensor]:
    """Put the adapter of a folder into a network, and return by name the weights that were trained whole beside it.

    Arguments:
        network: the one that the adapter was trained over, or another one on the same blocks; not yet in an engine.
        trains: whether it goes on training.

    Raises:
        NotFound: if there is no adapter in the folder.
        InvalidInput: if the adapter does not fit the network.
    """
    from peft import LoraConfig, set_peft_model_state_dict
    from safetensors.torch import load_file

    if not (folder / CONFIG).is_file():
        raise NotFound(f"there is no adapter: {CONFIG} is missing.", where=str(folder))
    config = LoraConfig.from_pretrained(str(folder))
    config.modules_to_save = None
    weights = {key.removeprefix(_PREFIX): weight for key, weight in load_file(folder / WEIGHTS).items()}
    adapted = {key: weight for key, weight in weights.items() if ".lora_" in key}
    try:
        _inject(network, config, name, seed=0)
        unexpected = set_peft_model_state_dict(network, adapted, adapter_name=name).unexpected_keys
    except (ValueError, RuntimeError) as error:
        raise InvalidInput("the adapter does not fit the model.", where=str(folder)) from error
    own = _parameters_of(network, name)
    if unexpected or len(own) != len(adapted):
        raise InvalidInput("the adapter does not fit the model.", where=str(folder))
    for parameter in own.values():
        parameter.requires_grad_(trains)
    return {key: weight for key, weight in weights.items() if key not in adapted}


def adapters_of(network: nn.Module) -> list[str]:
    """Return the names of a network's adapters."""
    return list(getattr(network, "peft_config", {}))


@contextmanager
def using_adapter(network: nn.Module, name: str | None) -> Iterator[None]:
    """Compute with one of the adapters, or with none of them. What trains stays the same."""
    before = _in_use(network)
    if before == name:
        yield
        return
    _use(network, name)
    try:
        yield
    finally:
        _use(network, before)


def recomputing_alike(network: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return the contexts of a forward pass and of its recomputation in the backward pass: with the same adapter."""
    return nullcontext(), using_adapter(network, _in_use(network))


def merged_weights(network: nn.Module, *, adapter: str = DEFAULT) -> Iterator[tuple[tuple[str, ...], Tensor]]:
    """Yield all weights of a network that computes the same without adapters, each with its names: several if tied.

    Called by all ranks together: under ZeRO 3 a weight is gathered for as long as it is looked at. A weight under an
    adapter is added up in float32 and rounded once.
    """
    import deepspeed

    layers = {path: layer for path, layer in network.named_modules() if _is_adapted(layer)}
    names: dict[int, list[str]] = {}
    tensors: dict[int, Tensor] = {}
    for name, tensor in network.state_dict(keep_vars=True).items():
        if name.partition(".lora_")[0] not in layers:
            names.setdefault(id(tensor), []).append(name)
            tensors[id(tensor)] = tensor
    for key, tensor in tensors.items():
        path, under, last = names[key][0].partition(".base_layer.")
        factors = _factors(layers[path], adapter) if under and last == "weight" else []
        with deepspeed.zero.GatheredParameters([tensor, *factors], enabled=hasattr(tensor, "ds_id")):
            weight = _merged(layers[path], tensor, adapter) if factors else tensor.detach()
            yield tuple(name.replace(".base_layer.", ".") if under else name for name in names[key]), weight


def adapter_weights(network: nn.Module, *, adapter: str = DEFAULT) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights of an adapter, and those that train whole beside it, under their names in the files of peft.

    Called by all ranks together: under ZeRO 3 a weight is gathered for as long as it is looked at.
    """
    import deepspeed

    for name, parameter in (_parameters_of(network, adapter) | _whole(network)).items():
        with deepspeed.zero.GatheredParameters([parameter], enabled=hasattr(parameter, "ds_id")):
            yield _PREFIX + name.replace(f".{adapter}.", "."), parameter.detach()


def write_adapter(
    folder: Path,
    network: nn.Module,
    weights: Mapping[str, Tensor],
    *,
    base: str,
    base_sha256: str | None,
    adapter: str = DEFAULT,
) -> None:
    """Write an adapter as peft reads it: `PeftModel.from_pretrained(base model, folder)`.

    Arguments:
        weights: `adapter_weights`, on the CPU.
        base: folder of the model under the adapter.
        base_sha256: `folder_hash` of that folder; peft's name for it is `revision`.
    """
    from peft import LoraConfig
    from safetensors.torch import save_file

    known: Any = network
    config = LoraConfig(**known.peft_config[adapter].to_dict())
    config.base_model_name_or_path, config.revision = base, base_sha256
    config.inference_mode = True
    config.target_modules = sorted(config.target_modules)  # a set, whose order would change the folder's hash
    config.modules_to_save = sorted({name.rpartition(".")[0] for name in _whole(network)}) or None
    config.task_type = "SEQ_CLS" if type(network).__name__.endswith("ForSequenceClassification") else "CAUSAL_LM"
    config.save_pretrained(str(folder))
    save_file(dict(weights), folder / WEIGHTS, metadata={"format": "pt"})


def _is_adapted(module: nn.Module) -> bool:
    from peft.tuners.lora import LoraLayer

    return isinstance(module, LoraLayer)


def _is_transposed(layer: Any) -> bool:
    """Whether the weight is [in, out], as in GPT-2."""
    from transformers.pytorch_utils import Conv1D

    return layer.fan_in_fan_out if _is_adapted(layer) else isinstance(layer, Conv1D)


def _linear_layers(network: nn.Module, path: str = "", in_block: bool = False) -> Iterator[tuple[str, nn.Module]]:
    """Yield the linear layers of the blocks, with their paths; a layer that has an adapter is one."""
    for name, child in network.named_children():
        place = f"{path}.{name}" if path else name
        if in_block and (_is_adapted(child) or isinstance(child, nn.Linear) or _is_transposed(child)):
            yield place, child
        else:
            # Blocks are what stands in a list; neither embeddings nor heads do.
            yield from _linear_layers(child, place, in_block or name.isdecimal())


def _inject(network: nn.Module, config: Any, name: str, seed: int) -> None:
    from peft import inject_adapter_in_model

    first = not adapters_of(network)
    trained = set() if first else {id(parameter) for parameter in network.parameters() if parameter.requires_grad}
    in_use = name if first else _in_use(network)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Already found a `peft_config`")  # several are meant to be
        torch.manual_seed(seed)
        inject_adapter_in_model(config, network, adapter_name=name)
    own = set(map(id, _parameters_of(network, name).values()))
    for parameter in network.parameters():
        parameter.requires_grad_(id(parameter) in trained | own)
    _use(network, in_use)


def _in_use(network: nn.Module) -> str | None:
    layer: Any = next(_adapted_layers(network), None)
    return None if layer is None or layer.disable_adapters else str(layer.active_adapters[0])


def _use(network: nn.Module, name: str | None) -> None:
    """Compute with an adapter, or with none.

    peft's own methods go through all parameters as well, and freeze what they do not compute with; the optimiser holds
    it here. They take 15 times as long, and recomputation changes adapters twice a block.
    """
    layer: Any
    for layer in _adapted_layers(network):
        layer._disable_adapters = name is None
        if name is not None:
            layer._active_adapter = [name]


def _adapted_layers(network: nn.Module) -> Iterator[nn.Module]:
    """Yield the layers that have adapters, without a look at what is inside of them."""
    for child in network.children():
        if _is_adapted(child):
            yield child
        else:
            yield from _adapted_layers(child)


def _parameters_of(network: nn.Module, adapter: str) -> dict[str, nn.Parameter]:
    return {
        name: parameter
        for name, parameter in network.named_parameters()
        if ".lora_" in name and f".{adapter}." in name.partition(".lora_")[2]
    }


def _whole(network: nn.Module) -> dict[str, nn.Parameter]:
    """Return by name what trains and belongs to no adapter."""
    return {name: p for name, p in network.named_parameters() if p.requires_grad and ".lora_" not in name}


def _factors(layer: Any, adapter: str) -> list[nn.Parameter]:
    return [layer.lora_A[adapter].weight, layer.lora_B[adapter].weight] if adapter in layer.lora_A else []


def _merged(layer: Any, weight: Tensor, adapter: str) -> Tensor:
    down, up = (factor.detach().float() for factor in _factors(layer, adapter))
    change = layer.scaling[adapter] * (up @ down)
    return (weight.detach().float() + (change.T if layer.fan_in_fan_out else change)).to(weight.dtype)
