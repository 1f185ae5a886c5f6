"""Small language models of random weights, of the operators that onnxruntime's own exporter writes.

Inputs are input_ids, attention_mask, past_key_values.N.key and .value, and position_ids where rotations stand apart;
outputs are logits and present.N.key and .value. Dimensions are open, by the exporter's names.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

INT64, FLOAT16 = TensorProto.INT64, TensorProto.FLOAT16
MICROSOFT = "com.microsoft"


@dataclass
class Decoder:
    """What a model is made of; `bits` of its weights are 4 or 8 in blocks of `block`, or None for float16."""

    layers: int = 2
    width: int = 64
    heads: int = 4
    groups: int = 2
    inner: int = 96
    tokens: int = 50
    places: int = 64
    bits: int | None = 4
    block: int = 32
    rotates_in_attention: bool = True
    seed: int = 7
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)
        self.head = self.width // self.heads

    def add(self, op: str, name: str, read: str, made: str = "", domain: str = "", **attributes: Any) -> str:
        """Write a node; return the name of its first result."""
        outputs = ["" if one == "_" else one for one in (made or f"{name}/output_0").split()]
        inputs = ["" if one == "_" else one for one in read.split()]
        self.nodes.append(helper.make_node(op, inputs, outputs, name, domain=domain, **attributes))
        return outputs[0]

    def weight(self, name: str, array: np.ndarray) -> str:
        self.weights[name] = array
        return name

    def product(self, name: str, x: str, k: int, n: int, made: str = "") -> str:
        """Write a product with random weights, about as large as its input."""
        if self.bits is None:
            drawn = self.random.normal(0, k**-0.5, (k, n)).astype(np.float16)
            return self.add("MatMul", f"{name}/MatMul", f"{x} {self.weight(f'{name}.weight', drawn)}", made)
        count = -(-k // self.block)
        numbers = self.random.integers(0, 256, (n, count, self.block * self.bits // 8), dtype=np.uint8)
        spread = 2**self.bits / 12**0.5
        scales = (self.random.uniform(0.8, 1.2, n * count) * k**-0.5 / spread).astype(np.float16)
        read = [x, self.weight(f"{name}.qweight", numbers), self.weight(f"{name}.scales", scales)]
        sizes = {"K": k, "N": n, "bits": self.bits, "block_size": self.block, "accuracy_level": 0}
        return self.add("MatMulNBits", f"{name}/MatMulNBits", " ".join(read), made, MICROSOFT, **sizes)

    def norm(self, name: str, x: str, skip: str = "", last: bool = False) -> tuple[str, str]:
        """Write a norm; return its result, and the sum that it is of."""
        gain = self.weight(f"{name}.weight", self.random.uniform(0.5, 1.5, self.width).astype(np.float16))
        if not skip:
            shared = {"axis": -1, "epsilon": 1e-5, "stash_type": 1}
            return self.add("SimplifiedLayerNormalization", name, f"{x} {gain}", f"{name}/output_0", **shared), x
        made = f"{name}/output_0" + ("" if last else f" _ _ {name}/output_3")
        self.add("SkipSimplifiedLayerNormalization", name, f"{x} {skip} {gain}", made, MICROSOFT, epsilon=1e-5)
        return f"{name}/output_0", f"{name}/output_3"

    def attention(self, layer: int, x: str) -> str:
        name, head = f"/model/layers.{layer}/attn", self.head
        sizes = {"num_heads": self.heads, "kv_num_heads": self.groups, "scale": float(head**-0.5)}
        ends = [f"past_key_values.{layer}.{end}" for end in ("key", "value")]
        known = [*ends, "seqlens_k", "total_sequence_length"]
        made = f"{name}/output_0 present.{layer}.key present.{layer}.value"
        if self.rotates_in_attention:
            packed = self.product(f"{name}/qkv_proj", x, self.width, (self.heads + 2 * self.groups) * head)
            read = " ".join([packed, "_ _", *known, "cos_cache sin_cache"])
            self.add("GroupQueryAttention", name, read, made, MICROSOFT, **sizes, do_rotary=1, rotary_interleaved=0)
        else:
            counts = {"q": self.heads, "k": self.groups, "v": self.groups}
            q, k, v = (self.product(f"{name}/{one}_proj", x, self.width, count * head) for one, count in counts.items())
            q, k = (
                self.add(
                    "RotaryEmbedding",
                    f"{name}/{one}_rotary",
                    f"{given} position_ids cos_cache sin_cache",
                    domain=MICROSOFT,
                )
                for one, given in (("q", q), ("k", k))
            )
            self.add("GroupQueryAttention", name, " ".join([q, k, v, *known]), made, MICROSOFT, **sizes)
        return self.product(f"{name}/o_proj", f"{name}/output_0", self.width, self.width)

    def gated(self, layer: int, x: str) -> str:
        name = f"/model/layers.{layer}/mlp"
        gate, up = (self.product(f"{name}/{one}_proj", x, self.width, self.inner) for one in ("gate", "up"))
        curve = self.add("Sigmoid", f"{name}/act_fn/Sigmoid", gate)
        act = self.add("Mul", f"{name}/act_fn/Mul", f"{gate} {curve}")
        return self.product(f"{name}/down_proj", self.add("Mul", f"{name}/Mul", f"{act} {up}"), self.inner, self.width)

    def model(self) -> onnx.ModelProto:
        """Return the model."""
        angles = np.arange(self.places)[:, None] * 10000.0 ** -(np.arange(0, self.head, 2) / self.head)
        self.weight("cos_cache", np.cos(angles).astype(np.float16))
        self.weight("sin_cache", np.sin(angles).astype(np.float16))
        for name, number in (("one", np.array([1])), ("first", np.array(1))):
            self.weight(name, number)
        self.add("ReduceSum", "mask/ReduceSum", "attention_mask one", keepdims=0)
        self.add("Sub", "mask/Sub", "mask/ReduceSum/output_0 one")
        self.add("Cast", "mask/Sub/Cast", "mask/Sub/output_0", "seqlens_k", to=TensorProto.INT32)
        self.add("Shape", "mask/Shape", "attention_mask")
        self.add("Gather", "mask/Gather", "mask/Shape/output_0 first", axis=0)
        self.add("Cast", "mask/Gather/Cast", "mask/Gather/output_0", "total_sequence_length", to=TensorProto.INT32)
        table = self.weight("embed_tokens", self.random.normal(0, 1, (self.tokens, self.width)).astype(np.float16))
        x = self.add("Gather", "/model/embed_tokens/Gather", f"{table} input_ids")
        skip = ""
        for layer in range(self.layers):
            for part, what in (("input", self.attention), ("post_attention", self.gated)):
                n, x = self.norm(f"/model/layers.{layer}/{part}_layernorm/LayerNorm", x, skip)
                skip = what(layer, n)
        n, _ = self.norm(f"/model/layers.{self.layers}/final_norm_layernorm/LayerNorm", x, skip, last=True)
        self.product("/lm_head", n, self.width, self.tokens, "logits")
        return self._proto()

    def _proto(self) -> onnx.ModelProto:
        batch, new, before, total = "batch_size", "sequence_length", "past_sequence_length", "total_sequence_length"
        inputs = [("input_ids", INT64, [batch, new]), ("attention_mask", INT64, [batch, total])]
        if not self.rotates_in_attention:
            inputs.append(("position_ids", INT64, [batch, new]))
        outputs = [("logits", FLOAT16, [batch, new, self.tokens])]
        for layer in range(self.layers):
            for end in ("key", "value"):
                inputs.append((f"past_key_values.{layer}.{end}", FLOAT16, [batch, self.groups, before, self.head]))
                outputs.append((f"present.{layer}.{end}", FLOAT16, [batch, self.groups, total, self.head]))
        graph = helper.make_graph(
            self.nodes,
            "decoder",
            *([helper.make_tensor_value_info(*one) for one in ends] for ends in (inputs, outputs)),
            [numpy_helper.from_array(array, name) for name, array in self.weights.items()],
        )
        imports = [helper.make_opsetid("", 21), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=imports, ir_version=10)
