"""Matrix factorisation: a rating is the product of a user's vector and a film's."""

from __future__ import annotations

from torch import Tensor, nn

from driftline.networks.modules import ClampedEmbedding


class Factorisation(nn.Module):
    """A vector and a bias for each user and each item. The last of each is that of all unknown ones."""

    def __init__(self, users: int, items: int, features: int) -> None:
        super().__init__()
        self.users, self.items = ClampedEmbedding(users, features), ClampedEmbedding(items, features)
        self.user_bias, self.item_bias = ClampedEmbedding(users, 1), ClampedEmbedding(items, 1)
        for embedding in (self.users, self.items, self.user_bias, self.item_bias):
            nn.init.normal_(embedding.weight, std=0.05)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        """``[batch]`` and ``[batch]`` integers → ``[batch, 1]``."""
        product = (self.users(user) * self.items(item)).sum(1, keepdim=True)
        found: Tensor = product + self.user_bias(user) + self.item_bias(item)
        return found


def factorisation(users: int, items: int, features: int = 8) -> nn.Module:
    return Factorisation(users, items, features)
