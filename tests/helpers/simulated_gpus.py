"""GPUs that are simulated: their tensors compute what the CPU's do, and are of other devices.

Where there is no GPU they show that code mixes no tensors of two devices, takes none of a GPU's
for an array, and does not wait for a GPU while it records a CUDA graph. They show nothing of
kernels, precision, streams and speed.

A tensor of a GPU is a subclass with the memory of a CPU's tensor. To PyTorch's own code it is of
the device "meta", as a fake tensor is, so that no CUDA is needed; to the program's of ``cuda:0``.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import (
    TorchDispatchMode,
    _disable_current_modes,
    return_and_correct_aliasing,
)

_aten = torch.ops.aten
_COPIES = (_aten.copy_.default, _aten._to_copy.default)
_INDEXED = (_aten.index.Tensor, _aten.index_put_.default, _aten._index_put_impl_.default)
_WAITING = (_aten._local_scalar_dense.default, _aten.nonzero.default)
_here = threading.local()  # `graph` that this thread records, and number of its `current` GPU


class GpuTensor(Tensor):
    """A tensor of a GPU.

    Attributes
    ----------
    memory : Tensor
        Of the CPU, with the same values.
    gpu : torch.device
    """

    memory: Tensor
    gpu: torch.device

    def __new__(cls, memory: Tensor, gpu: torch.device) -> "GpuTensor":
        """Make a tensor of a GPU that has this memory."""
        with _disable_current_modes():
            shell = torch.empty_strided(
                memory.shape, memory.stride(), dtype=memory.dtype, device="meta"
            )
        made: GpuTensor = Tensor._make_subclass(cls, shell, False, device_for_backend_keys=gpu)
        made.memory, made.gpu = memory, gpu
        return made

    device = property(lambda self: self.gpu)
    is_cuda = property(lambda _: True)
    is_meta = property(lambda _: False)
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _run(func, args, kwargs or {})

    def tolist(self) -> Any:
        """Return the values, as any tensor does."""
        return self.cpu().tolist()

    def numpy(self, **_options: Any) -> Any:
        """Raise what a tensor of a GPU raises."""
        raise TypeError(f"can't convert {self.gpu} device type tensor to numpy")

    __array__ = numpy  # type: ignore[assignment]

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        """Copy a tensor or a parameter, each once."""
        if id(self) not in memo:
            copied = self.detach().clone()
            is_parameter = isinstance(self, torch.nn.Parameter)
            memo[id(self)] = (
                torch.nn.Parameter(copied, self.requires_grad) if is_parameter else copied
            )
        copy: Tensor = memo[id(self)]
        return copy


class _Simulation(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Makes tensors of the GPU where they are asked for."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operation in the memory of its tensors."""
    if func not in _COPIES and func._can_decompose():
        with _Simulation():
            decomposed = func.decompose(*args, **kwargs)
        if decomposed is not NotImplemented:
            return decomposed
    tensors = list(_tensors_in((args, kwargs)))
    from_gpu = next((each.gpu for each in tensors if isinstance(each, GpuTensor)), None)
    to_gpu, options = _place(func, from_gpu, kwargs)
    _require_one_device(func, tensors)
    _require_no_waiting(func, tensors, to_gpu)
    in_memory, named = _replaced(GpuTensor, lambda each: each.memory, (args, options))
    out = func(*in_memory, **named)
    if from_gpu or to_gpu:
        _record(func, in_memory, named, out)
    if func is _aten.copy_.default:
        return args[0]
    if to_gpu is None:
        return out
    made = _replaced(Tensor, lambda each: GpuTensor(each, to_gpu), out)
    if not from_gpu:
        return made
    return return_and_correct_aliasing(func, args, kwargs, made)  # type: ignore[no-untyped-call]


def _tensors_in(values: Any) -> Iterator[Tensor]:
    """Yield the tensors among an operation's values; PyTorch's trees take several times as long."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, list | tuple | dict):
        for each in values.values() if isinstance(values, dict) else values:
            yield from _tensors_in(each)


def _replaced(kind: type[Tensor], replacement: Callable[[Any], Tensor], values: Any) -> Any:
    """Return an operation's values with others for the tensors of a kind."""
    if isinstance(values, kind):
        return replacement(values)
    if isinstance(values, list | tuple):
        return type(values)([_replaced(kind, replacement, each) for each in values])
    if isinstance(values, dict):
        return {name: _replaced(kind, replacement, each) for name, each in values.items()}
    return values


def _place(
    func: Any, from_gpu: torch.device | None, kwargs: dict[str, Any]
) -> tuple[torch.device | None, dict[str, Any]]:
    """Return the GPU of the results, and the options with the device of their memory."""
    options = {name: value for name, value in kwargs.items() if name != "pin_memory"}
    device = None if kwargs.get("device") is None else torch.device(kwargs["device"])
    if device is None:
        return from_gpu, options
    to_gpu = _gpu_of(device) if device.type == "cuda" else None
    if device.type == "meta":  # PyTorch's own code asks for the device of a tensor of a GPU
        to_gpu = from_gpu
    if to_gpu or from_gpu or func is _aten.scalar_tensor.default:
        options["device"] = torch.device("cpu")
    return to_gpu, options


def _gpu_of(device: torch.device) -> torch.device:
    index = getattr(_here, "current", 0) if device.index is None else device.index
    if index >= torch.cuda.device_count():
        raise RuntimeError("CUDA error: invalid device ordinal")
    return torch.device("cuda", index)


def _require_one_device(func: Any, tensors: list[Tensor]) -> None:
    """Refuse tensors of two devices; a single number and indices may be the CPU's."""
    if func in _COPIES or func in _INDEXED:
        return
    devices = {each.device for each in tensors if isinstance(each, GpuTensor) or each.dim()}
    if len(devices) > 1 and any(isinstance(each, GpuTensor) for each in tensors):
        raise RuntimeError(f"Expected all tensors to be on the same device: {func}, {devices}")


def _require_no_waiting(func: Any, tensors: list[Tensor], to_gpu: torch.device | None) -> None:
    """Refuse what waits for a GPU while a graph is recorded."""
    places = {to_gpu, *(getattr(each, "gpu", None) for each in tensors)}
    crosses = func in _COPIES and len(places) > 1
    if getattr(_here, "graph", None) and (crosses or func in _WAITING):
        raise RuntimeError(f"operation not permitted when stream is capturing: {func}")


class _Graph:
    """Operations that are recorded, to be run again in the same memory."""

    def __init__(self) -> None:
        self.calls: list[tuple[Callable[..., Any], Any, Any, Any]] = []

    def replay(self) -> None:
        """Run all operations again."""
        for func, args, kwargs, before in self.calls:
            results = (_tensors_in(found) for found in (func(*args, **kwargs), before))
            for now, kept in zip(*results, strict=True):
                if now.data_ptr() != kept.data_ptr():
                    kept.copy_(now)


def _record(func: Any, args: Any, kwargs: Any, out: Any) -> None:
    if graph := getattr(_here, "graph", None):
        graph.calls.append((func, args, kwargs, out))


@contextmanager
def _recording(graph: _Graph, **_options: Any) -> Iterator[None]:
    _here.graph = graph
    try:
        yield
    finally:
        _here.graph = None


class _Generator(torch.Generator):
    """A generator of random numbers; drawn in the CPU's memory."""

    _where: torch.device

    def __new__(cls, device: Any = "cpu") -> "_Generator":
        """Make one that draws for this device."""
        made = super().__new__(cls, "cpu")  # type: ignore[call-arg]
        made._where = torch.device(device)
        return made

    device = property(lambda self: self._where)


def _on_gpu(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a function that makes tensors of data in the CPU's memory, and copies them."""

    def made(data: Any, *rest: Any, device: Any = None, **options: Any) -> Tensor:
        if device is None or torch.device(device).type != "cuda":
            return make(data, *rest, device=device, **options)
        if isinstance(data, GpuTensor):
            return data.to(device, options.get("dtype"))
        return make(data, *rest, device="cpu", **options).to(device)

    return made


def _cuda(count: int) -> dict[str, Any]:
    """Return what replaces parts of `torch.cuda`."""

    def nothing(*_: Any, **__: Any) -> None:
        pass

    stream = SimpleNamespace(wait_stream=nothing)
    properties = SimpleNamespace(name="simulated", major=9, minor=0, total_memory=1 << 34)
    state = torch.zeros(16, dtype=torch.uint8)

    def set_device(device: Any) -> None:
        _here.current = torch.device(device).index

    named = dict.fromkeys(("_lazy_init", "set_stream", "synchronize", "empty_cache"), nothing)
    named |= dict.fromkeys(("manual_seed_all", "set_rng_state"), nothing)
    contexts = dict.fromkeys(("stream", "device"), lambda *_: nullcontext())
    return {
        **named,
        **contexts,
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: count,
        "current_device": lambda: getattr(_here, "current", 0),
        "set_device": set_device,
        "get_device_capability": lambda *_: (9, 0),
        "get_device_properties": lambda *_: properties,
        "get_device_name": lambda *_: properties.name,
        "mem_get_info": lambda *_: (1 << 33, 1 << 34),
        "get_rng_state": lambda *_: state,
        "Stream": lambda *_, **__: stream,
        "current_stream": lambda *_: stream,
        "is_current_stream_capturing": lambda: bool(getattr(_here, "graph", None)),
        "CUDAGraph": _Graph,
        "graph": _recording,
    }


def _decode_jpegs(files: list[Tensor], mode: int, device: torch.device) -> list[Tensor]:
    """Decode JPEGs on the CPU, in place of torchvision's operator for nvJPEG."""
    if device.type != "cuda":
        raise RuntimeError("Expected the device parameter to be a cuda device")
    return [torch.ops.image.decode_jpeg(file, mode, False).to(device) for file in files]


@contextmanager
def simulated_gpus(count: int = 1) -> Iterator[list[torch.device]]:
    """Simulate GPUs in this thread and in those that are started meanwhile."""
    import torch._dynamo  # which a dispatch mode imports, and which looks at `torch.cuda`

    torch._C._ensureCUDADeviceGuardSet()
    run = threading.Thread.run

    def run_with_gpu(thread: threading.Thread) -> None:
        with _Simulation():
            run(thread)

    makers: dict[str, Any] = {"Generator": _Generator}
    makers |= {name: _on_gpu(getattr(torch, name)) for name in ("asarray", "as_tensor", "tensor")}
    swapped = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)  # as `Module.to` does for a GPU
    try:
        with ExitStack() as stack:
            stack.enter_context(patch.multiple(torch.cuda, **_cuda(count)))
            stack.enter_context(patch.multiple(torch, **makers))
            nvjpeg = patch.object(torch.ops.image, "decode_jpegs_cuda", _decode_jpegs, create=True)
            stack.enter_context(nvjpeg)
            stack.enter_context(patch.object(Tensor, "pin_memory", lambda tensor, *_: tensor))
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
            stack.enter_context(patch.object(threading.Thread, "run", run_with_gpu))
            stack.enter_context(_Simulation())
            yield [torch.device("cuda", i) for i in range(count)]
    finally:
        torch.__future__.set_swap_module_params_on_conversion(swapped)
