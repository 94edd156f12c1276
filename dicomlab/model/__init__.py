"""The values that every path speaks. Nothing here touches a network, a disc or a screen."""
