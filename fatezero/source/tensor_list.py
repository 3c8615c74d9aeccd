"""Objects that hold tensors, as ComfyUI's RAM cache sees them."""


class TensorList(list):
    """A list that stands for itself, not for its elements: tensors cannot be compared like numbers.

    ComfyUI's RAM cache counts CPU tensors in lists, and drops the largest outputs of nodes when RAM runs short. So what
    holds many tensors is a list of them.
    """

    def __eq__(self, other) -> bool:
        return self is other

    def __hash__(self) -> int:  # type: ignore[override]  # ComfyUI looks into nothing but lists, and a list has none
        return id(self)
